"""What the demo's terminal answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.demo.home import Home
from balancer.demo.shell import HELP, Shell
from balancer.demo.users import User, token_of


@pytest.fixture
def shell(tmp_path):
    return Shell("ide-02", User.of(token_of("alice")), Home(tmp_path / "home"))


def test_a_note_is_written_listed_shown_and_removed(shell):
    assert "try: write" in shell.answer("ls", 0)
    assert "on ide-02" in shell.answer("write notes.txt two  words ", 0)
    assert shell.answer("ls", 0) == "notes.txt"
    assert shell.answer("cat notes.txt", 0).rstrip() == "two  words"
    shell.answer("rm notes.txt", 0)
    assert "no such file" in shell.answer("cat notes.txt", 0)


@pytest.mark.parametrize("line", ["write", "write x", "cat", "cat a b", "rm", "rm a b"])
def test_usage(shell, line):
    assert shell.answer(line, 0).startswith(f"usage: {line.split()[0]} NAME")


@pytest.mark.parametrize(
    ("seconds", "spoken"), [(0.9, "0 s"), (61, "1 min 1 s"), (3599, "59 min 59 s"), (90061, "25 h 1 min")]
)
def test_uptime(shell, seconds, spoken):
    assert shell.answer("uptime", seconds) == f"ide-02 has been running for {spoken}"


def test_help_names_every_command(shell):
    assert shell.answer("help", 0) == HELP
    assert all(f"\n{command}" in f"\n{HELP}" for command in ("write", "ls", "cat", "rm", "whoami", "uptime", "help"))


def test_whoami_keeps_the_token_to_itself(shell):
    assert shell.answer("whoami", 0).startswith("alice on ide-02")
    assert token_of("alice") not in shell.answer("whoami", 0)


@given(st.text())
def test_anything_else_is_echoed(line):
    shell = Shell("ide-02", User.of("x"), Home(None))  # an echo needs no disk
    words = line.split()
    if not words or words[0] not in {"help", "whoami", "uptime", "ls", "cat", "write", "rm"}:
        assert shell.answer(line, 0) == line
