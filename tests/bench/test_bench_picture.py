"""The picture of the ratios: its bars are where the numbers say."""

from xml.etree import ElementTree

import pytest

from bench.peers.table import SUBJECT
from bench.picture import svg
from bench.scenarios import SCENARIOS

SVG = "{http://www.w3.org/2000/svg}"
VERSIONS = {SUBJECT: "1", "haproxy": "2 <3>", "nginx": "4"}


def bars(*costs):
    """The bars drawn for rounds with these costs of us, haproxy and nginx: both ends, by title."""
    rounds = [dict(zip(VERSIONS, ({"cpu_microseconds": cost} for cost in turn), strict=True)) for turn in costs]
    drawn = ElementTree.fromstring(svg([(SCENARIOS[0], {"": rounds})], VERSIONS))
    found = {}
    for group in drawn.iter(f"{SVG}g"):
        for rect in group.iter(f"{SVG}rect"):
            left, width = float(rect.get("x")), float(rect.get("width"))
            found[group.find(f"{SVG}title").text] = left, left + width
    return found


def test_bars_leave_the_line_of_one_towards_their_ratio():
    found = bars((20.0, 10.0, 40.0))
    more, less = found["get-plain / haproxy: 2.00 (2.00-2.00)"], found["get-plain / nginx: 0.50 (0.50-0.50)"]
    assert more[0] == pytest.approx(less[1], abs=0.2)  # the line
    assert more[1] - more[0] == pytest.approx(less[1] - less[0], abs=0.2)  # double and half are equally far


def test_the_median_is_drawn_and_the_range_is_told():
    assert list(bars((1.0, 1.0, 1.0), (8.0, 1.0, 2.0), (3.0, 1.0, 3.0))) == [
        "get-plain / haproxy: 3.00 (1.00-8.00)",
        "get-plain / nginx: 1.00 (1.00-4.00)",
    ]


def test_what_costs_a_peer_nothing_is_left_out():
    assert list(bars((1.0, 0.0, 4.0))) == ["get-plain / nginx: 0.25 (0.25-0.25)"]


def test_versions_are_named():
    rounds = [{SUBJECT: {"cpu_microseconds": 1.0}, "haproxy": {"cpu_microseconds": 1.0}}]
    drawn = svg([(SCENARIOS[0], {"": rounds})], VERSIONS)
    assert "haproxy 2 <3>" in "".join(ElementTree.fromstring(drawn).itertext())


def test_the_last_of_two_states_is_drawn_and_who_was_not_measured_is_not():
    alone = {"cpu_microseconds": 1.0}
    calm, busy = [{SUBJECT: alone, "nginx": alone}], [{SUBJECT: {"cpu_microseconds": 3.0}, "nginx": alone}]
    drawn = svg([(SCENARIOS[0], {"calm": calm, "busy": busy})], VERSIONS)
    assert "get-plain / nginx: 3.00 (3.00-3.00)" in drawn
    assert "haproxy" not in drawn
