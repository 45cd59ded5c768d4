"""haproxy's placement: every recorded case, its numbering and keys, and servers that are down."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_pools import TOKENS

from balancer.config.pool import BackendConfig, PoolConfig, RingConfig
from balancer.errors import Refused
from balancer.ring.build import build
from balancer.ring.haproxy import server_ids
from balancer.ring.haproxy_hash import full_hash, token_hash, xxh32
from balancer.ring.nearest import Nearest

VECTORS = json.loads((Path(__file__).parent / "vectors" / "haproxy.json").read_text())
TYPES = st.sampled_from(["consistent", "map-based"])


def farm(servers, **ring):
    """A pool of servers (weight, id)."""
    backends = [
        BackendConfig(name=f"s{index}", address=f"192.0.2.{index + 1}:8{index:03}", weight=float(weight), id=number)
        for index, (weight, number) in enumerate(servers)
    ]
    return PoolConfig(name="ide", ring=RingConfig(algorithm="haproxy", **ring), backend=tuple(backends))


def case_name(case):
    words = [case["hash_type"], case["function"], case["avalanche"] and "avalanche", f"{len(case['servers'])} servers"]
    return " ".join(word for word in words if word)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=case_name)
def test_places_as_recorded(case):
    ring_keys = {key: case[key] for key in ("hash_type", "function", "avalanche")}
    servers = [(server["weight"], server["id"]) for server in case["servers"]]
    ring = build(farm(servers, **ring_keys))
    assert len(case["picks"]) == len(VECTORS["tokens"])
    assert [ring.owner(token.encode()) for token in VECTORS["tokens"]] == [f"s{pick}" for pick in case["picks"]]


def test_its_defaults_are_kept_with_their_surprises():
    """No word: map-based sdbm. ``consistent``: with avalanche. ``consistent sdbm``: without."""
    servers = [(1, None)] * 5

    def same(one, other):
        return build(farm(servers, **one)).fingerprint == build(farm(servers, **other)).fingerprint

    assert same({}, {"hash_type": "map-based", "function": "sdbm", "avalanche": False})
    assert same({"hash_type": "consistent"}, {"hash_type": "consistent", "function": "sdbm", "avalanche": True})
    assert same({"hash_type": "consistent", "function": "sdbm"}, {"hash_type": "consistent", "avalanche": False})
    assert not same({"hash_type": "consistent"}, {"hash_type": "consistent", "function": "sdbm"})


def test_first_points_of_three_servers():
    ring = build(farm([(1, None)] * 3, hash_type="consistent"))
    assert isinstance(ring, Nearest)
    points = dict(zip(ring.points, ring.owners, strict=True))
    expected = {
        "s0": (0x49C2008B, 0xA4972C87, 0xB5417C4A),
        "s1": (0x405AFE73, 0x18B66546, 0xB397C57C),
        "s2": (0x4E477B4E, 0x6EEB9E3B, 0x700375C8),
    }
    assert len(points) == 48
    assert all(points[key] == name for name, keys in expected.items() for key in keys)


@pytest.mark.parametrize(
    ("given_ids", "expected"),
    [
        ([None, None, None], [1, 2, 3]),
        ([7, 1001, None, 42, None, None], [7, 1001, 3, 42, 5, 6]),
        ([2, None, None], [2, 3, 4]),
        ([None, 1, None], [2, 1, 4]),
    ],
)
def test_servers_are_numbered_as_haproxy_does(given_ids, expected):
    assert server_ids(given_ids) == expected


@pytest.mark.parametrize(
    ("hash_key", "key"),
    [
        ("id", 7 * 4096),
        ("id32", full_hash(0x07000000)),
        ("addr", full_hash(0x010200C0)),
        ("addr-port", full_hash((full_hash(8000) + 0x010200C0) % 2**32)),
        ("guid", xxh32(b"host one", 0)),
    ],
)
def test_hash_keys(hash_key, key):
    (backend,) = farm([(1, 7)]).backend
    backend = backend.model_copy(update={"guid": "host one"})
    ring = RingConfig(algorithm="haproxy", hash_type="consistent", hash_key=hash_key)
    built = build(PoolConfig(name="ide", ring=ring, backend=(backend,)))
    assert sorted(built.points) == sorted(full_hash((key + node) % 2**32) for node in range(16))


@pytest.mark.parametrize(
    ("address", "hash_key", "key"),
    [
        ("[2001:db8::1]:80", "addr", xxh32(bytes.fromhex("20010db8000000000000000000000001"), 0)),
        ("[2001:db8::1]:80", "addr-port", xxh32(bytes.fromhex("20010db8000000000000000000000001"), full_hash(80))),
        ("unix:/run/ide.sock", "addr", 4096),
    ],
)
def test_hash_keys_of_other_addresses(address, hash_key, key):
    ring = RingConfig(algorithm="haproxy", hash_type="consistent", hash_key=hash_key)
    built = build(PoolConfig(name="ide", ring=ring, backend=(BackendConfig(name="a", address=address),)))
    assert full_hash(key) in built.points


@pytest.mark.parametrize(
    ("servers", "settings", "message"),
    [
        ([(1, 5), (1, 5)], {}, "two backends have id 5"),
        ([(1, None)], {"hash_key": "guid", "hash_type": "consistent"}, '"s0" has no guid'),
    ],
)
def test_refuses_what_haproxy_would_not_start_with(servers, settings, message):
    with pytest.raises(Refused, match=message):
        build(farm(servers, **settings))


def nearest_by_definition(points, position):
    """The nearest of points (key, name) in order of insertion, by distance on both sides."""
    ordered = sorted(points, key=lambda point: point[0])
    following = next((index for index, (key, _) in enumerate(ordered) if key >= position), 0)
    previous = ordered[following - 1]
    below, above = (position - previous[0]) % 2**32, (ordered[following][0] - position) % 2**32
    return previous[1] if below <= above else ordered[following][1]


@settings(max_examples=40)
@given(
    weights=st.lists(st.sampled_from([0.07, 1, 2]), min_size=1, max_size=5),
    ids=st.permutations([1, 2, 3, 1 + 2**20, 2 + 2**20]),
    tokens=st.lists(st.binary(max_size=20), max_size=10),
)
def test_down_servers_leave_the_ring_and_the_nearest_of_the_others_takes_over(weights, ids, tokens):
    """Colliding ids included: 1 and 1 + 2**20 share every key."""
    config = farm(list(zip(weights, ids, strict=False)), hash_type="consistent")
    points = [
        (full_hash((backend.id * 4096 + node) % 2**32), backend.name)
        for backend in config.backend
        for node in range(max(1, round(16 * backend.weight)))
    ]
    ring = build(config)
    keys = [key for key, _ in points]
    hash = token_hash("sdbm", avalanche=True)
    for token in [*tokens, *TOKENS[:20]]:
        remaining = points
        for name in ring.order(token):
            assert name == nearest_by_definition(remaining, hash.function(token))
            remaining = [point for point in remaining if point[1] != name]
        assert not remaining
        assert ring.point(token) in keys


@settings(max_examples=40)
@given(hash_type=TYPES, weights=st.lists(st.integers(1, 6), min_size=2, max_size=6), token=st.binary(max_size=70))
def test_order_is_what_rings_rebuilt_without_the_earlier_ones_say(hash_type, weights, token):
    config = farm([(weight, None) for weight in weights], hash_type=hash_type)
    down = {}
    for name in build(config).order(token):
        assert build(config, down).owner(token) == name
        down[name] = 0


@pytest.mark.parametrize("position_offset", [0, 1, 2, 3])
def test_borders_lie_half_way_between_points(position_offset):
    """On every border, and next to it, the owner by arcs is the owner by distance."""
    ring = build(farm([(1, None)] * 4, hash_type="consistent"))
    points = list(zip(ring.points, ring.owners, strict=True))
    bare = RingConfig(algorithm="haproxy", hash_type="consistent", function="none")
    by_number = build(farm([(1, None)] * 4, **bare.model_dump(include={"hash_type", "function"})))
    for end in (*ring.ends, 0, 2**32 - 2):
        position = (end - 1 + position_offset) % 2**32
        assert by_number.owner(b"%d" % position) == nearest_by_definition(points, position)


def test_succession_is_counted_around_the_end_of_the_circle():
    """Where the first and the last point are of one server, the next one of another lies a turn further."""
    bare = {"hash_type": "consistent", "function": "none"}
    rings = [build(farm([(0.25, first), (0.25, first + 1), (0.25, first + 2)], **bare)) for first in range(1, 200)]

    def wraps(ring):
        ends = ring.owners[0]
        after = next(name for name in ring.owners if name != ends)
        before = next(name for name in reversed(ring.owners) if name != ends)
        return ring.owners[-1] == ends and before != after

    for ring in [ring for ring in rings if wraps(ring)][:5]:
        counted = Counter(tuple(islice(ring.order(b"%d" % (number << 20)), 2)) for number in range(1 << 12))
        shares = {pair: count / (1 << 12) for pair, count in counted.items()}
        found = {(a, b): share for a, parts in ring.succession().items() for b, share in parts.items() if share}
        assert found == pytest.approx(shares, abs=0.004)
