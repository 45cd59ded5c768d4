"""How answers look on a terminal."""

import io
import sys

from hypothesis import given
from hypothesis import strategies as st

from balancer.cli.command import main
from balancer.cli.tables import TableCell, paint, printable, table


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """Standard output is one, from now on."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    return screen


def test_colours(monkeypatch):
    terminal(monkeypatch)
    assert paint("x", "bad") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "bad") == "x"


def test_no_colours_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert paint("x", "bad") == "x"


def test_problems_are_red(monkeypatch, tmp_path):
    screen = terminal(monkeypatch)
    file = tmp_path / "balancer.toml"
    file.write_text("workers = 0\n")
    monkeypatch.setattr(sys, "argv", ["balancer", "check", "--config", str(file)])
    assert main() == 1
    assert f"\x1b[31m{file}:1: workers: " in screen.getvalue()


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), min_size=1))
def test_what_others_have_written_gives_a_terminal_no_orders(rows):
    lines = table(("a", "b"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


def test_what_can_be_read_stays():
    assert printable("größer 語") == "größer 語"
    assert printable("a\x9b31m\u202eb\n") == "a?31m?b?"
    assert table(("n", "who"), [["1", TableCell("x", "bad")], ["22", "y"]]) == "   n  who\n   1  x\n  22  y"
