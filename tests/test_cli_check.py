"""`balancer check`, as an operator runs it."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from balancer.shared.compiled import build

CONF = Path(__file__).parents[1] / "conf"
TEN_MISTAKES = """\
worker = 4
[timeouts]
idle = 60
[[listener]]
name = "ide"
bind = ["localhost:8443"]
pool = "idle"
[listener.tls]
certificates = [{ cert = "missing.crt", key = "missing.key" }]
[[pool]]
name = "ide"
[pool.token]
missing = "refuse"
[pool.ring]
function = "sdbm"
[[pool.backend]]
name = "ide-01"
address = "10.0.0.1:4001"
weight = "heavy"
[[pool.backend]]
name = "ide-01"
address = "10.0.0.2:4001"
"""


def balancer(*arguments, **options):
    command = [sys.executable, "-m", "balancer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(TEN_MISTAKES)
    return path


def test_ten_mistakes_are_ten_lines_with_their_numbers(bad):
    done = balancer("check", "--config", bad)
    *problems, summary = done.stdout.splitlines()
    assert [line.removeprefix(f"{bad}:").split(": ")[:2] for line in problems] == [
        ["1", "worker"],
        ["3", "timeouts > idle"],
        ["6", 'listener "ide" > bind #1'],
        ["7", 'listener "ide" > pool'],
        ["9", 'listener "ide" > tls > certificates #1 > cert'],
        ["9", 'listener "ide" > tls > certificates #1 > key'],
        ["13", 'pool "ide" > token > missing'],
        ["15", 'pool "ide" > ring > function'],
        ["19", 'pool "ide" > backend "ide-01" > weight'],
        ["21", 'pool "ide" > backend "ide-01" > name'],
    ]
    assert summary == f"{bad}: 10 problems, 0 warnings"
    assert (done.returncode, done.stderr) == (1, "")


def test_json_says_the_same(bad):
    done = balancer("check", "--config", bad, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], len(answer["problems"]), answer["warnings"]) == (1, False, 10, [])
    assert answer["problems"][0] == {
        "file": str(bad),
        "line": 1,
        "key": "worker",
        "message": 'unknown key; did you mean "workers"?',
    }


@pytest.mark.parametrize("name", ["prod.toml", "demo.toml"])
def test_shipped_files(name):
    done = balancer("check", "--config", CONF / name)
    warning, summary = done.stdout.splitlines()
    assert ": warning: this is the placeholder of the source tree" in warning
    assert summary == f"{CONF / name}: 0 problems, 1 warning; 1 listener, 1 pool, 3 backends"
    assert (done.returncode, done.stderr) == (0, "")


def test_no_file(tmp_path):
    done = balancer("check", "--config", "none.toml", cwd=tmp_path)
    assert done.stdout == "none.toml: cannot be read: No such file or directory\nnone.toml: 1 problem, 0 warnings\n"
    assert (done.returncode, done.stderr) == (1, "")


def test_a_reader_that_leaves_early_sees_no_traceback(bad):
    command = [sys.executable, "-m", "balancer", "check", "--config", str(bad)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_names_a_terminal_cannot_show(tmp_path):
    path = tmp_path / "ünïcode.toml"
    path.write_text('"ключ" = 1\n')
    done = balancer("check", "--config", path, env={"PYTHONIOENCODING": "ascii"})
    assert "\\xfcn\\xefcode.toml:1: " in done.stdout
    assert "\\u043a\\u043b\\u044e\\u0447" in done.stdout
    assert (done.returncode, done.stderr) == (1, "")


def test_usage():
    for arguments in [(), ("check",)]:
        done = balancer(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: balancer")


def test_version():
    done = balancer("--version")
    assert (done.returncode, done.stdout) == (0, f"balancer {version('balancer')} ({build()})\n")


def test_what_moves_users_of_earlier_versions_is_said(tmp_path):
    pool = '[[pool]]\nname = "ide"\n{}backend = [{{ name = "a", address = "10.0.0.1:1" }}]\n'
    listener = '[[listener]]\nname = "ide"\nbind = ["127.0.0.1:1"]\npool = "ide"\n'
    path = tmp_path / "balancer.toml"
    for more, said in (("", True), ("token.decode = true\n", False), ('ring.algorithm = "haproxy"\n', False)):
        path.write_text(listener + pool.format(more))
        done = balancer("check", "--config", path)
        assert done.returncode == 0
        assert ("token.decode = false keeps their users where they were" in done.stdout) is said
