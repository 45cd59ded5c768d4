"""The picture is well-formed SVG whose arcs are those of the rings."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ring_pools import ALGORITHMS, pool

from balancer.ring.build import build
from balancer.ring.picture import svg
from balancer.ring.plan import plan

PICTURES = Path(__file__).parent / "pictures"
SVG = "{http://www.w3.org/2000/svg}"
BEFORE = {"ide-01": 1, "ide-02": 2, "ide-03": 1}
AFTER = {"ide-01": 1, "ide-02": 1, "ide-04": 1}


def drawn(before, after):
    return ElementTree.fromstring(svg(before, after, plan(before, after)))


def turns_by_radius_and_name(root):
    """How much of a whole turn each backend's arcs make, by outer radius."""
    turns = {}
    for path in root.iter(f"{SVG}path"):
        name = path.find(f"{SVG}title").text
        for x, y, radius, x2, y2 in re.findall(r"M([\d.]+) ([\d.]+)A(\d+) \3 0 0 1 ([\d.]+) ([\d.]+)L", path.get("d")):
            start = math.atan2(float(x) - 380, 380 - float(y))
            end = math.atan2(float(x2) - 380, 380 - float(y2))
            turn = (end - start) / (2 * math.pi) % 1
            assert turn < 0.501
            key = int(radius), name
            turns[key] = turns.get(key, 0) + turn
    return turns


@pytest.mark.parametrize("name", ["ring", "nginx", "haproxy consistent", "maglev", "rendezvous"])
def test_arcs_are_the_shares(name):
    before, after = (build(pool(weights, {**ALGORITHMS[name], "points": 20})) for weights in (BEFORE, AFTER))
    turns = turns_by_radius_and_name(drawn(before, after))
    inner = {name: turn for (radius, name), turn in turns.items() if radius == 230}
    outer = {name: turn for (radius, name), turn in turns.items() if radius == 332}
    assert inner == pytest.approx(before.shares(), abs=0.02)
    assert outer == pytest.approx(after.shares(), abs=0.02)


def test_moved_arcs_stand_under_the_name_of_who_gets_them():
    before, after = (build(pool(weights, {"points": 20})) for weights in (BEFORE, AFTER))
    turns = turns_by_radius_and_name(drawn(before, after))
    got = {}
    for move in plan(before, after).moves:
        got[move.target] = got.get(move.target, 0) + move.share
    assert {name: turn for (radius, name), turn in turns.items() if radius == 262} == pytest.approx(got, abs=0.02)


def test_legend_has_every_backend_before_and_after():
    texts = [
        "".join(element.itertext()) for element in drawn(*map(build, (pool(BEFORE), pool(AFTER)))).iter(f"{SVG}text")
    ]
    for name in {*BEFORE, *AFTER}:
        assert any(text.startswith(name) for text in texts)
    assert texts.count("none") == 2


def test_a_single_backend_is_a_whole_ring():
    ring = build(pool({"only": 1}))
    turns = turns_by_radius_and_name(drawn(ring, ring))
    assert turns[332, "only"] > 0.99


def test_text_is_escaped():
    odd = '<b>&"quoted"</b>'
    config = pool({"a": 1, "b": 1})
    renamed = config.model_copy(
        update={"backend": (config.backend[0].model_copy(update={"name": odd}), config.backend[1])}
    )
    root = drawn(build(config), build(renamed))
    assert odd in [path.find(f"{SVG}title").text for path in root.iter(f"{SVG}path")]


def test_neighbouring_colours_of_dozens_of_backends_differ():
    ring = build(pool({f"ide-{number:02}": 1 for number in range(21)}, {"points": 5}))
    root = drawn(ring, ring)
    assert len({path.get("fill") for path in root.iter(f"{SVG}path")}) == 21


@pytest.mark.parametrize(
    ("name", "before", "after", "settings"),
    [
        ("few", BEFORE, AFTER, {"points": 3}),
        ("many", {f"ide-{n:02}": 1 for n in range(33)}, {f"ide-{n:02}": 1 for n in range(1, 34)}, {"points": 1}),
        ("shares", BEFORE, AFTER, {"algorithm": "rendezvous"}),
        ("odd-name", {"a-name-of-more-than-20-letters": 1}, {"a-name-of-more-than-20-letters": 1}, {"points": 1}),
    ],
)
def test_the_picture_is_drawn_as_before(name, before, after, settings):
    """After a change of the drawing look at the new picture, then write it to the file."""
    before, after = (build(pool(weights, settings)) for weights in (before, after))
    assert svg(before, after, plan(before, after)) == (PICTURES / f"{name}.svg").read_text()
