"""What the command loads before it does anything: the shell waits for `balancer completion` at each press of Tab."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from balancer.cli import main
sys.argv = ["balancer", *sys.argv[1:]]
code = 0
try:
    code = main()
except SystemExit as error:
    code = error.code
print(code, *sys.modules, file=sys.stderr)
"""
LARGE = {"pydantic", "trio", "cryptography", "msgspec", "prometheus_client", "importlib.metadata"}


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "completion bash",
        "completion words -- ",
        "completion words -- ring plan --",
        "completion words -- backend drain --config FILE ide",
        "import --help",
    ],
)
def test_parsers_and_completion_load_nothing_large(words, tmp_path):
    file = tmp_path / "balancer.toml"
    file.write_text("[admin]\nlisten = '127.0.0.1:1'\n")
    command = [sys.executable, "-c", PROGRAM, *(str(file) if word == "FILE" else word for word in words.split(" "))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, *modules = done.stderr.split()
    assert code == "0"
    assert "balancer.cli.ring" in modules
    assert not LARGE & set(modules)
