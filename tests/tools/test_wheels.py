"""A wheel of the compiled build is made by one command, and what it installs runs compiled."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, cwd=ROOT):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_no_such_python(tmp_path):
    code, said = run(sys.executable, "-m", "tools", "wheels", "--into", tmp_path, "python9")
    assert code == 1
    assert "python9: No such file or directory" in said


@pytest.mark.site
@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_a_wheel_runs_compiled(tmp_path):
    code, said = run(sys.executable, "-m", "tools", "wheels", "--into", tmp_path, sys.executable)
    assert code == 0, said
    [wheel] = tmp_path.glob("*.whl")
    python = tmp_path / "environment" / "bin" / "python"
    for command in ([sys.executable, "-m", "venv", python.parents[1]], [python, "-m", "pip", "install", "-q", wheel]):
        code, said = run(*command, cwd=tmp_path)
        assert code == 0, said
    code, said = run(python, "-m", "balancer", "--version", cwd=tmp_path)
    assert code == 0
    assert said.endswith("(compiled)\n")
