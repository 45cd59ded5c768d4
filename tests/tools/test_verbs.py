"""``python -m tools``: what it says, and which exit code it ends with."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERBS = ("test", "site", "compiled", "wheels", "lint", "coverage", "mutate", "bench", "fuzz", "forms", "chaos")


def tools(*arguments):
    command = [sys.executable, "-m", "tools", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_names_every_verb():
    done = tools("--help")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == list(VERBS)


@pytest.mark.parametrize("verb", ["test", "site", "lint", "coverage", "mutate"])
def test_every_verb_has_help(verb):
    done = tools(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"python -m tools {verb}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [((), ""), (("dance",), "no verb 'dance'; there are test, site, "), (("lint", "x"), "lint takes no arguments")],
)
def test_bad_arguments(arguments, problem):
    done = tools(*arguments)
    assert done.returncode == 2
    assert problem in done.stderr


def test_a_verb_passes_arguments_on_and_returns_the_exit_code():
    assert tools("test", "--version").returncode == 0
    done = tools("test", "-n", "0", "tests/no_such_folder")
    assert done.returncode == 4
    assert "tests/no_such_folder" in done.stderr
