"""Rings and placements as messages carry them place every token as the original does."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import PLACEMENT, SETTINGS

from balancer.config.pool import BackendConfig, PoolConfig, RingConfig
from balancer.ipc.messages import TO_WORKER, PoolSnapshot, Setup
from balancer.ipc.placement import placement_of, placement_state
from balancer.ipc.rings import ring_of, ring_state
from balancer.ipc.wire import encode
from balancer.pool.digest import Digest
from balancer.pool.placement import Placement
from balancer.ring.build import build

ALGORITHMS = {
    "ring": {},
    "keyed": {"hash": "blake2b", "seed": "a long and random seed"},
    "ketama": {"algorithm": "ketama"},
    "nginx": {"algorithm": "nginx"},
    "haproxy map-based": {"algorithm": "haproxy"},
    "haproxy consistent": {"algorithm": "haproxy", "hash_type": "consistent"},
    "haproxy wt6": {"algorithm": "haproxy", "hash_type": "consistent", "function": "wt6", "avalanche": False},
    "maglev": {"algorithm": "maglev", "table_size": 251},
    "rendezvous": {"algorithm": "rendezvous"},
    "rehoming": {"before": {"algorithm": "nginx"}, "rehomed": 0.4},
}
TOKENS = [b"user-%d" % number for number in range(200)]


def ring(settings, count=5):
    backends = [
        BackendConfig(name=f"ide-{n}", address=f"10.0.0.{n + 1}:80", weight=float(1 + n % 3)) for n in range(count)
    ]
    return build(PoolConfig(name="ide", ring=RingConfig(**settings), backend=backends))


def sent(state):
    """The placement as it arrives in a worker."""
    setup = Setup(1, 1, SETTINGS, 1, b"k", "info", {"ide": PoolSnapshot(state, {}, {})})
    return TO_WORKER.decode(encode(setup)).pools["ide"].placement


@pytest.mark.parametrize("settings", ALGORITHMS.values(), ids=ALGORITHMS.keys())
def test_every_algorithm(settings):
    original = ring(settings)
    addresses = dict(PLACEMENT.addresses) | {name: PLACEMENT.addresses["a"] for name in original.members}
    digest = Digest(b"k")
    placement = Placement(original, addresses, digest, backups=("b",), weights=original.weights, slots={"ide-0": 4})
    copy = placement_of(sent(placement_state(placement)), digest)
    assert (copy.addresses, copy.backups, copy.slots) == (addresses, ("b",), {"ide-0": 4})
    assert (copy.ring.fingerprint, copy.ring.members) == (original.fingerprint, original.members)
    assert dict(copy.ring.weights) == dict(original.weights)
    for token in TOKENS:
        assert copy.ring.owner(token) == original.owner(token)
        assert list(copy.ring.order(token)) == list(original.order(token))


@pytest.mark.parametrize("missing", ["a", "b"])
def test_a_placement_without_an_address_is_refused(missing):
    addresses = {name: address for name, address in PLACEMENT.addresses.items() if name != missing}
    state = type(PLACEMENT)(PLACEMENT.ring, addresses, backups=("b",))
    with pytest.raises(ValueError, match=f"no address for {missing}"):
        placement_of(state, Digest(b"k"))


@given(st.binary(max_size=40))
@example(b"\0\0")
def test_arrays_that_contradict_the_names_are_refused(owners):
    state = ring_state(ring({}))
    bad = type(state)(state.members, state.weights, state.fingerprint, state.hash, state.ends, owners)
    numbers = [int.from_bytes(owners[at : at + 2], "little") for at in range(0, len(owners), 2)]
    if len(owners) % 2 or not numbers or max(numbers) >= 5 or len(numbers) != len(state.ends) // 8:
        with pytest.raises(ValueError, match=r"."):
            ring_of(bad)
    else:
        assert ring_of(bad).members == state.members
