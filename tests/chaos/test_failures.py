"""The README's table of failures says what ``failures.py`` makes happen; one of its rows, made to happen."""

from pathlib import Path

from failures import FAILURES, measure, shown

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_table_in_the_readme_is_that_of_the_command():
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in README.splitlines() if "|" in line]
    table = {row[0]: row[1:] for row in rows if len(row) == 5}
    for each in FAILURES:
        what, measured, metric, log = table[each.name]
        assert (what, metric, log) == (each.what, shown(each.metric), shown(each.log))
        assert measured


def test_a_failure_is_measured():
    (resets,) = (each for each in FAILURES if each.make.__name__ == "client_resets")
    assert measure(resets).endswith("s")
