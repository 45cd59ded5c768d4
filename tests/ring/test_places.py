"""Where each algorithm places given tokens. These places never change: users of running installations would move."""

import pytest
from ring_pools import ALGORITHMS, pool

from balancer.ring.build import build
from balancer.ring.circle import Circle
from balancer.ring.hashes import MD5

WEIGHTS = {"a": 1, "b": 2, "c": 1, "d": 0.5}
# Owners of token-0 to token-23, orders of the first three, then position and point of the first.
PLACES = {
    "ring": ("cbacacabbdbacadcbbbcbdba", "cbda bdca abcd", 15919103618488528610, 15999351412067392329),
    "keyed ring": ("abccabbcabbacbbadcddaabb", "abcd bcad cbad", 7854516042116483534, 7946469776671445025),
    "ketama": ("aacbbbcbaabccbbbabbaccca", "abdc abcd cbad", 1694821596, 1725587406),
    "nginx": ("bbbbbdabccaccbabbaccdbaa", "bdca bcad bdac", 3662240717, 3666069293),
    "haproxy consistent": ("cbdbdabbbabbcbbccbbbbacc", "cbad bcad dbca", 2163110878, 2120548064),
    "haproxy map-based": ("cdabbcabbcbbcabbcdabdabb", "cabd dbca acbd", 2651193916, 7),
    "maglev": ("abacacdbdbaaddabacdbbbbd", "adcb bcad abcd", 15919103618488528610, 847),
    "rendezvous": ("bcabbabbbbbadacacaabcbdb", "bdca cbda abcd", 15919103618488528610, 13327477321209785268),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_places_never_change(name):
    points = {"points": 20} if name.endswith("ring") else {}
    ring = build(pool(WEIGHTS, {**ALGORITHMS[name], **points}))
    tokens = [b"token-%d" % number for number in range(24)]
    owners, orders, position, point = PLACES[name]
    assert "".join(map(ring.owner, tokens)) == owners
    assert " ".join("".join(ring.order(token)) for token in tokens[:3]) == orders
    assert (ring.position(tokens[0]), ring.point(tokens[0])) == (position, point)


@pytest.mark.parametrize("name", ["ring", "ketama", "nginx", "haproxy consistent"])
def test_every_point_is_counted_once(name):
    ring = build(pool(WEIGHTS, ALGORITHMS[name]))
    assert sum(ring.point_counts().values()) == len(ring.ends)


def test_the_ring_has_its_points_by_weight():
    ring = build(pool({"a": 1, "b": 2}, {"points": 20}))
    assert ring.point_counts() == {"a": 20, "b": 40}


def test_a_backend_without_points_comes_last():
    """It lost its only points to others with the same hash, and can still stand in for them."""
    ring = Circle.build(MD5, {1 << 62: "a", 1 << 63: "b"}, {"a": 1.0, "b": 1.0, "c": 1.0})
    assert {"".join(ring.order(b"token-%d" % number)) for number in range(20)} == {"abc", "bac"}


def test_a_tiny_weight_is_one_unit_of_haproxys_map():
    ring = build(pool({"a": 0.001, "b": 1}, {"algorithm": "haproxy"}))
    assert ring.slots.count("a") == 1
    assert len(ring.slots) == 17
