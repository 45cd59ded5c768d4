"""``docs/failures.md`` says what ``failures.py`` makes happen; one of the failures, made to happen."""

from pathlib import Path

import pytest
from failures import FAILURES, measure, section

DOCS = (Path(__file__).parents[2] / "docs/failures.md").read_text()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: each.make.__name__)
def test_the_documentation_says_what_happens(failure):
    before, after = section(failure, "TIME").split("TIME")
    rest = DOCS.partition(before)[2]
    time, newline, _ = rest.partition("\n")
    assert time, f"docs/failures.md differs from:\n{before}"
    assert rest.startswith(time + after + newline + "- What to do: ")


def test_a_failure_is_measured():
    (resets,) = (each for each in FAILURES if each.make.__name__ == "client_resets")
    assert measure(resets).endswith("s")
