"""What the Tab key completions: by the command itself, and in a real bash."""

import shutil
import subprocess
import sys

import pytest
from admin_rig import NAMES

from balancer.cli.command import _parser, main
from balancer.cli.completion import _SCRIPTS, completions

VERBS = {
    "backend",
    "check",
    "completion",
    "config",
    "demo",
    "events",
    "log-level",
    "pin",
    "pins",
    "ring",
    "status",
    "top",
    "unpin",
}


def offered(*words):
    return completions(_parser(), words)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["backend", ""], ["drain", "list", "maint", "ready", "weight"]),
        (["backend", "dr"], ["drain"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["log-level", "w"], ["warning"]),
        (["log-level", "--admin", "/s", "w"], ["warning"]),
        (["log-level", "--admin=/s", "w"], ["warning"]),
        (["log-level", "--json", "w"], ["warning"]),
        (["backend", "weight", "ide-01", "--p"], ["--pause", "--pool"]),
        (["--config", "x.toml", "stat"], ["status"]),
        (["ring", "plan", "--to", ""], []),  # a file: the shell's own business
        (["backend", "weight", "ide-01", ""], []),
        (["nonsense", ""], None),
        (["status", "more", ""], []),
        ([], None),
    ],
)
def test_words(words, found):
    if found is None:
        assert set(offered(*words)) >= VERBS
    else:
        assert offered(*words) == found


def test_all_options():
    assert offered("pin", "t", "ide-01", "--") == [
        "--admin", "--config", "--discard-newer", "--for", "--help", "--pool", "--prefix", "--reason", "--version"
    ]  # fmt: skip


def test_names_from_the_running_daemon(daemon, tmp_path):
    admin = ["--admin", daemon.socket]
    assert offered("backend", "drain", *admin, "") == list(NAMES)
    assert offered("backend", "drain", "--config", daemon.config, "ide-02") == ["ide-02"]
    assert offered("backend", "drain", *admin, "--pool", "other", "") == []
    assert offered("backend", "list", *admin, "--pool", "") == ["ide"]
    assert offered("pin", *admin, "token", "ide-0") == list(NAMES)
    assert offered("ring", "plan", *admin, "--weight", "ide-03") == ["ide-03="]
    assert offered("ring", "plan", *admin, "--drain", "ide-01", "--maint", "ide-") == list(NAMES)
    assert offered("backend", "drain", "--admin", str(tmp_path / "none"), "") == []
    assert offered("backend", "drain", "--config", str(tmp_path / "none"), "") == []


BASH = """
balancer() {{ {python} -m balancer "$@"; }}
{script}
COMP_LINE={line!r} COMP_POINT={point}
_balancer
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash(daemon):
    def tab(line, end=""):
        words = {"python": sys.executable, "script": _SCRIPTS["bash"], "line": line + end, "point": len(line)}
        done = subprocess.run(["bash", "-uec", BASH.format(**words)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    assert tab(f"balancer backend drain --admin {daemon.socket} ", end="and more") == list(NAMES)
    # What is behind a ":" or "=" is a word of its own to bash: it is offered without what stands before it.
    assert tab("balancer completion words a:b=") == []


def test_the_script_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["balancer", "completion", "bash"])
    assert main() == 0
    assert capsys.readouterr().out == _SCRIPTS["bash"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_right_as_far_as_their_shells_can_tell(shell):
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([found, "-n"], input=_SCRIPTS[shell], text=True, check=True)
