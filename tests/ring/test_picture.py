"""The picture is well-formed SVG whose arcs are those of the rings."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from ring_pools import ALGORITHMS, pool

from balancer.ring.build import build
from balancer.ring.picture import svg
from balancer.ring.plan import plan, side

PICTURES = Path(__file__).parent / "pictures"
SVG = "{http://www.w3.org/2000/svg}"
BEFORE = {"ide-01": 1, "ide-02": 2, "ide-03": 1}
SLOTS = 2048
AFTER = {"ide-01": 1, "ide-02": 1, "ide-04": 1}


def drawn(before, after):
    return ElementTree.fromstring(svg(before, after, plan(before, after)))


def uses(root):
    """Each ring's dashed circles: ring, name of the backend, lengths of its dashes and gaps."""
    for use in root.iter(f"{SVG}use"):
        if (dashes := use.get("stroke-dasharray")) is not None:
            yield use.get("href"), use.find(f"{SVG}title").text, list(map(int, dashes.split()))


def turns_by_ring_and_name(root):
    """How much of a whole turn each backend's dashes make."""
    turns = {}
    for ring, name, dashes in uses(root):
        assert sum(dashes) == SLOTS
        assert len(dashes) % 2 == 0  # SVG repeats an odd list, with dashes and gaps exchanged
        turns[ring, name] = sum(dashes[::2]) / SLOTS
    return turns


@pytest.mark.parametrize("name", ["ring", "nginx", "haproxy consistent", "maglev", "rendezvous"])
def test_arcs_are_the_shares(name):
    before, after = (build(pool(weights, {**ALGORITHMS[name], "points": 20})) for weights in (BEFORE, AFTER))
    turns = turns_by_ring_and_name(drawn(before, after))
    inner = {name: turn for (ring, name), turn in turns.items() if ring == "#inner"}
    outer = {name: turn for (ring, name), turn in turns.items() if ring == "#outer"}
    assert inner == pytest.approx(side(before).shares, abs=0.02)
    assert outer == pytest.approx(side(after).shares, abs=0.02)


def test_moved_arcs_stand_under_the_name_of_who_gets_them():
    before, after = (build(pool(weights, {"points": 20})) for weights in (BEFORE, AFTER))
    turns = turns_by_ring_and_name(drawn(before, after))
    got = {}
    for move in plan(before, after).moves:
        got[move.target] = got.get(move.target, 0) + move.share
    assert {name: turn for (ring, name), turn in turns.items() if ring == "#moved"} == pytest.approx(got, abs=0.02)


def test_legend_has_every_backend_before_and_after():
    texts = [
        "".join(element.itertext()) for element in drawn(*map(build, (pool(BEFORE), pool(AFTER)))).iter(f"{SVG}text")
    ]
    for name in {*BEFORE, *AFTER}:
        assert any(text.startswith(name) for text in texts)
    assert sum("none" in text for text in texts) == 2


def test_a_single_backend_is_a_whole_ring():
    ring = build(pool({"only": 1}))
    turns = turns_by_ring_and_name(drawn(ring, ring))
    assert turns == {("#inner", "only"): 1, ("#outer", "only"): 1}


def test_text_is_escaped():
    odd = '<b>&"quoted"</b>'
    config = pool({"a": 1, "b": 1})
    renamed = config.model_copy(
        update={"backend": (config.backend[0].model_copy(update={"name": odd}), config.backend[1])}
    )
    root = drawn(build(config), build(renamed))
    assert odd in [name for _, name, _ in uses(root)]


def test_neighbouring_colours_of_dozens_of_backends_differ():
    ring = build(pool({f"ide-{number:02}": 1 for number in range(21)}, {"points": 5}))
    root = drawn(ring, ring)
    assert len({group.get("stroke") for group in root.iter(f"{SVG}g")}) == 21


@pytest.mark.parametrize("name", ["ring", "haproxy consistent"])
def test_500_backends_make_a_picture_that_a_browser_takes(name):
    weights = {f"ide-{number:03}": 1 for number in range(500)}
    before, after = (build(pool(each, ALGORITHMS[name])) for each in (weights, weights | {"ide-007": 5}))
    assert len(svg(before, after, plan(before, after))) < 200_000


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
