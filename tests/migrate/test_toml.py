"""The TOML writer: what it writes, the standard library reads back."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.scalars import parse_duration
from balancer.migrate.toml import TomlTable, duration, literal

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text("abz_-09", min_size=1)
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_values_come_back(value):
    assert tomllib.loads(f"x = {literal(value)}") == {"x": value}


@given(st.dictionaries(KEYS, VALUES, max_size=4), TEXT)
def test_no_comment_ends_its_line(values, comment):
    top = TomlTable("", comment)
    for key, value in values.items():
        top.set(key, value, comment)
    top.element("pool", comment).table("ring", comment).set("points", 1, comment)
    assert tomllib.loads(str(top)) == {**values, "pool": [{"ring": {"points": 1}}]}


def test_looks_as_written_by_hand():
    top = TomlTable("", "Made from a.cfg.\n\n" + "word " * 30)
    top.set("workers", 2, "nbthread")
    top.set("state_dir", None)
    pool = top.element("pool", "backend ide (a.cfg:3)")
    pool.set("name", "ide")
    pool.table("health")
    pool.table("ring").set("algorithm", "haproxy", "as it was " * 12)
    pool.element("backend").set("address", "10.0.0.1:80")
    assert str(top) == (
        "# Made from a.cfg.\n#\n"
        f"# {' '.join(['word'] * 23)}\n# {' '.join(['word'] * 7)}\n"
        "workers = 2  # nbthread\n"
        "\n# backend ide (a.cfg:3)\n[[pool]]\n"
        'name = "ide"\n'
        "\n[pool.ring]\n"
        f"# {' '.join(['as it was'] * 11)} as it\n# was\n"
        'algorithm = "haproxy"\n'
        "\n[[pool.backend]]\n"
        'address = "10.0.0.1:80"\n'
    )


@given(st.integers(1, 366 * 86400_000))
def test_durations_are_read_as_meant(milliseconds):
    assert parse_duration(duration(milliseconds)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(1500, "1500ms"), (90_000, "90s"), (3600_000, "1h"), (86400_000, "1d")]
)
def test_durations_are_short(milliseconds, text):
    assert duration(milliseconds) == text


def test_text_no_file_can_hold():
    with pytest.raises(ValueError, match="surrogates"):
        literal("\udc80")
