"""Points of uhashring and nginx: our lookup finds what theirs finds."""

import json
from hashlib import md5
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_pools import TOKENS, pool
from uhashring import HashRing

from balancer.config.pool import BackendConfig, PoolConfig, RingConfig
from balancer.errors import Refused
from balancer.ring.build import build
from balancer.ring.plan import side
from balancer.ring.points import nginx_points

VECTORS = json.loads((Path(__file__).parent / "vectors" / "nginx.json").read_text())

names = st.text("abcdefghij0123456789-", min_size=1, max_size=12).map(lambda text: f"h{text}")
whole_weights = st.dictionaries(names, st.integers(1, 4), min_size=1, max_size=6)
tokens = st.lists(st.text(st.characters(codec="utf-8"), max_size=60), min_size=1, max_size=30)


@given(weights=whole_weights, points=st.integers(1, 200), texts=tokens)
def test_ring_places_as_uhashring_does(weights, points, texts):
    theirs = HashRing(weights, vnodes=points)
    ours = build(pool(weights, {"points": points}))
    for text in texts:
        assert ours.owner(text.encode()) == theirs.get_node(text)
        assert list(ours.order(text.encode())) == [conf["nodename"] for conf in theirs.range(text)]


def test_ring_gives_a_hash_that_equals_a_point_to_the_next_one_as_uhashring_does():
    """A token that reads like the label of a point has its hash."""
    theirs = HashRing(["a", "b", "c"])
    ours = build(pool({"a": 1, "b": 1, "c": 1}))
    labels = [f"{name}-{number}" for name in "abc" for number in range(160)]
    assert [ours.owner(label.encode()) for label in labels] == [theirs.get_node(label) for label in labels]
    assert any(ours.owner(label.encode()) != label[0] for label in labels)


def libketama(names, token):
    """The continuum of libketama by its definition: the first point at or after the hash."""
    points = []
    for name in names:
        for number in range(40):
            digest = md5(f"{name}-{number}".encode()).digest()
            points += [(int.from_bytes(digest[at : at + 4], "little"), name) for at in (0, 4, 8, 12)]
    position = int.from_bytes(md5(token).digest()[:4], "little")
    return min(((point - position) % 2**32, name) for point, name in points)[1]


def test_ketama_places_as_libketama_does_on_points_too():
    ours = build(pool({"a": 1, "b": 1, "c": 1}, {"algorithm": "ketama"}))
    labels = [f"{name}-{number}".encode() for name in "abc" for number in range(40)]
    assert [ours.owner(token) for token in TOKENS] == [libketama("abc", token) for token in TOKENS]
    assert [ours.owner(label) for label in labels] == [label.decode()[0] for label in labels]


@given(weights=whole_weights, texts=tokens)
def test_ketama_places_as_uhashring_does(weights, texts):
    theirs = HashRing(weights, hash_fn="ketama")
    ours = build(pool(weights, {"algorithm": "ketama"}))
    for text in texts:
        assert ours.owner(text.encode()) == theirs.get_node(text)


def test_ketama_leaves_no_backend_without_points():
    ring = build(pool({"big": 256, "tiny": 0.01}, {"algorithm": "ketama"}))
    assert side(ring).shares["tiny"] > 0
    assert HashRing({"big": 25600, "tiny": 1}, hash_fn="ketama").distribution["tiny"] == 0


def test_weights_of_zero_are_as_good_as_absent():
    for algorithm in ("ring", "ketama", "nginx"):
        with_it = build(pool({"a": 1, "b": 2, "c": 0}, {"algorithm": algorithm}))
        assert with_it.fingerprint == build(pool({"a": 1, "b": 2}, {"algorithm": algorithm})).fingerprint


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"{len(case['servers'])} servers")
def test_nginx_places_as_recorded(case):
    backends = [
        BackendConfig(name=f"host-{index}", address=server["server"], weight=float(server["weight"]))
        for index, server in enumerate(case["servers"])
    ]
    ring = build(PoolConfig(name="ide", ring=RingConfig(algorithm="nginx"), backend=tuple(backends)))
    assert len(case["picks"]) == len(VECTORS["tokens"])
    assert [ring.owner(token.encode()) for token in VECTORS["tokens"]] == [f"host-{pick}" for pick in case["picks"]]


@pytest.mark.parametrize(
    ("server", "same_as"),
    [("unix:/run/ide.sock", "UNIX:/run/ide.sock"), ("host", "host:"), ("[::1]:80", "[::1]:80")],
)
def test_nginx_reads_a_server_string_its_own_way(server, same_as):
    assert nginx_points({"a": server}, {"a": 1}) == nginx_points({"a": same_as}, {"a": 1})


def test_nginx_takes_only_digits_for_a_port():
    points = [nginx_points({"a": server}, {"a": 1}) for server in ("[::1]", "[:", "a:http", "a", "a:80")]
    assert len({tuple(of_one) for of_one in points}) == len(points)


def test_nginx_refuses_two_backends_that_are_one_server():
    backends = [BackendConfig(name=name, address="10.0.0.1:80", server="ide:80") for name in "ab"]
    with pytest.raises(Refused, match="same nginx server string"):
        build(PoolConfig(name="ide", ring=RingConfig(algorithm="nginx"), backend=tuple(backends)))


def test_tokens_of_uhashring_are_text_and_ours_are_their_bytes():
    """uhashring hashes the repr of bytes, which is why it never sees a token here."""
    theirs = HashRing(["a", "b", "c"])
    ours = build(pool({"a": 1, "b": 1, "c": 1}))
    assert any(theirs.get_node(token) != ours.owner(token) for token in TOKENS)
