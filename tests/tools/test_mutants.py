"""The mutants that are made of a source, and the ones that are not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutate.mutants import mutants

ROOT = Path(__file__).parents[2]


@pytest.fixture
def changes(tmp_path):
    """From a source to the lines that its mutants have instead of it."""

    def changes(source):
        (tmp_path / "source.py").write_text(source)
        found = [mutant for place in mutants(tmp_path, Path("source.py")) for mutant in place]
        before = source.splitlines()
        for each in found:
            after = each.text.splitlines()
            assert [new for old, new in zip(before, after, strict=True) if new != old]
            assert f"+{after[each.line - 1]}" in each.diff()
        return {each.text.splitlines()[each.line - 1].strip() for each in found}

    return changes


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a < b", {"a <= b", "a >= b"}),
        ("a is not b", {"a is b"}),
        ("a not  in b", {"a in b"}),
        ("a and b and c", {"a or b and c", "a and b or c"}),
        ("a + b * c", {"a - b * c", "a + b // c"}),
        ("not a", {"(a)"}),
        ("'é' + a", {"'é' - a"}),
        ("a(b'x')", {"a(b'xX')"}),
        ("a[0]", {"a[1]", "a[(-1)]"}),
        ("True", {"False"}),
        ("b if c else d", {"b if not (c) else d"}),
    ],
)
def test_expressions(changes, line, expected):
    assert changes(f"_ = {line}\n") == {f"_ = {each}" for each in expected}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("for a in b:\n    break\n", {"continue"}),
        ("for a in b:\n    continue\n", {"break"}),
        ("def f():\n    return a\n", {"return None"}),
        ("def f(a=b or c): ...\n", {"def f(a=b and c): ..."}),
        ("raise a\n", {"pass"}),
        ("a.b = c\n", {"pass"}),
        ("a += b\n", {"pass"}),
        ("if a:\n    b\n", {"if not (a):", "pass"}),
    ],
)
def test_statements(changes, source, expected):
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Docstring 1."""\n',
        "def f(a: int | None) -> dict[str, int | None]: ...\n",
        "a: int | None\n",
        "Names = str | bytes\n",
        "logger.info('%d', a + 1)\n",
        "_ = f'{a + 1}'\n",
        "assert a, b + 1\n",
        "class A(b[1]):\n    __slots__ = ('a', 1)\n",
        "@a(1, b=True)\ndef f(): ...\n",
        "def __repr__(self):\n    return a + 1\n",
        "def f():\n    return None\n",
        "_ = zip(a, strict=True)\n",
    ],
)
def test_what_no_test_has_to_notice(changes, source):
    assert changes(source) == set()


@pytest.mark.site
def test_a_score_is_printed_and_the_checkout_is_left_alone():
    before = subprocess.check_output(["git", "status", "--porcelain"], cwd=ROOT)
    command = [sys.executable, "-m", "tools", "mutate", "--only", "balancer/http", "--count", "4", "--at-least", "100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    survived = done.stdout.count("survived: balancer/http/")
    assert f"{4 - survived} of    4" in done.stdout.splitlines()[-1]
    assert done.returncode == (1 if survived else 0), done.stderr
    assert subprocess.check_output(["git", "status", "--porcelain"], cwd=ROOT) == before
