"""What all algorithms have in common, and what a pool must be to have a ring."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from ring_pools import ALGORITHMS, TOKENS, pool

from balancer.errors import Refused
from balancer.ring.build import build
from balancer.ring.plan import side

NAMES = [f"ide-{number:02}" for number in range(12)]
MINIMAL = ["ring", "keyed ring", "nginx", "haproxy consistent", "rendezvous"]
every_algorithm = pytest.mark.parametrize("settings", ALGORITHMS.values(), ids=ALGORITHMS)
minimal_algorithms = pytest.mark.parametrize("settings", [ALGORITHMS[name] for name in MINIMAL], ids=MINIMAL)
weight_maps = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.5, 1, 1, 2, 3]), min_size=1, max_size=8)


@every_algorithm
@examples(max_examples=25)
@given(weights=weight_maps, token=st.binary(max_size=200))
def test_order_names_every_backend_once_and_the_owner_first(settings, weights, token):
    ring = build(pool({**weights, "off": 0}, settings))
    order = list(ring.order(token))
    assert order[0] == ring.owner(token)
    assert sorted(order) == sorted(weights) == sorted(ring.members)
    assert "off" not in side(ring).shares


@every_algorithm
@examples(max_examples=25)
@given(weights=weight_maps, data=st.data())
def test_declaration_order_is_irrelevant(settings, weights, data):
    shuffled = dict(data.draw(st.permutations(list(weights.items()))))
    one, other = build(pool(weights, settings)), build(pool(shuffled, settings))
    if settings != ALGORITHMS["haproxy map-based"]:  # where haproxy's own map follows the order of the file
        assert one.fingerprint == other.fingerprint
        assert all(list(one.order(token)) == list(other.order(token)) for token in TOKENS[:50])


@minimal_algorithms
@examples(max_examples=25)
@given(weights=weight_maps, changed=st.sampled_from(NAMES), factor=st.sampled_from([0, 0.5, 2, 3]))
def test_a_change_moves_tokens_only_to_what_grows_and_from_what_shrinks(settings, weights, changed, factor):
    base = {"anchor": 1, **weights}
    small, large = {**base, changed: 1}, {**base, changed: 1}
    (small if factor < 1 else large)[changed] = factor
    before, after = build(pool(small, settings)), build(pool(large, settings))
    for token in TOKENS:
        assert after.owner(token) in (before.owner(token), changed)


@minimal_algorithms
@examples(max_examples=25)
@given(weights=weight_maps, token=st.binary(max_size=40))
def test_each_successor_is_the_owner_once_those_before_it_are_gone(settings, weights, token):
    config = pool(weights, settings)
    gone = {}
    for name in build(config).order(token):
        assert build(config, gone).owner(token) == name
        gone[name] = 0
    with pytest.raises(Refused, match="every weight is 0"):
        build(config, gone)


@examples(max_examples=25)
@given(names=st.sets(st.sampled_from(NAMES), min_size=2), newcomer=st.sampled_from(NAMES))
def test_ketama_of_equal_weights_moves_tokens_only_to_the_newcomer(names, newcomer):
    old = names - {newcomer} or {"anchor"}
    before = build(pool(dict.fromkeys(old, 1), ALGORITHMS["ketama"]))
    after = build(pool(dict.fromkeys(old | {newcomer}, 1), ALGORITHMS["ketama"]))
    assert all(after.owner(token) in (before.owner(token), newcomer) for token in TOKENS)


@every_algorithm
def test_shares_are_what_tokens_show(settings):
    ring = build(pool(dict(zip(NAMES, [1, 2, 3, 1, 0.5, 2], strict=False)), settings))
    counts = dict.fromkeys(ring.members, 0)
    shares = {(owner, heir): share for owner, parts in ring.succession().items() for heir, share in parts.items()}
    seconds = dict.fromkeys(shares, 0)
    total = 20_000
    for number in range(total):
        owner, successor, *_ = ring.order(b"%032x" % (number * 0x9E3779B97F4A7C15F39CC0605CEDC835))
        counts[owner] += 1
        seconds[owner, successor] += 1
    assert math.isclose(sum(side(ring).shares.values()), 1)
    for name, share in side(ring).shares.items():
        assert counts[name] / total == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / total))
    for pair, share in shares.items():
        assert seconds[pair] / total == pytest.approx(share, abs=6 * math.sqrt(share * (1 - share) / total))


@pytest.mark.parametrize("name", ["ring", "keyed ring", "nginx", "haproxy consistent", "ketama"])
def test_shares_are_in_proportion_to_weights(name):
    """A backend's arcs are v of n exponential gaps: a Beta(v, n - v) share, whose deviation is known."""
    weights = {f"host-{number:02}": [1, 1, 2, 4][number % 4] for number in range(40)}
    ring = build(pool(weights, ALGORITHMS[name]))
    points = {"haproxy consistent": 16, "ketama": 80}.get(name, 160)
    total = points * sum(weights.values())
    for backend, share in side(ring).shares.items():
        fair = weights[backend] / sum(weights.values())
        own = fair * total
        deviation = math.sqrt(own * (total - own) / (total**2 * (total + 1)))
        assert abs(share - fair) < 3 * deviation


def test_two_tiers_with_different_seeds_are_independent():
    """With one hash for both, the hosts of a region would see only the tokens of that region's arcs."""
    regions = {f"region-{number}": 1 for number in range(8)}
    outer = build(pool(regions, {"hash": "blake2b", "seed": "outer"}))
    hosts = {f"ide-{number:02}": 1 for number in range(20)}
    inner = build(pool(hosts, {"hash": "blake2b", "seed": "inner"}))
    counts = dict.fromkeys(itertools.product(regions, hosts), 0)
    for number in range(160_000):
        token = b"%016x" % number
        counts[outer.owner(token), inner.owner(token)] += 1
    by_region = {region: [count for (r, _), count in counts.items() if r == region] for region in regions}
    for loads in by_region.values():
        assert max(loads) / (sum(loads) / len(loads)) < 1.35


GOLDEN = {
    "ring": "591bea041a1440de",
    "keyed ring": "a991a2ac34fa5df6",
    "ketama": "c4f03760cee03a02",
    "nginx": "febae87b85b35752",
    "haproxy consistent": "82392aeb7a0bd250",
    "haproxy map-based": "8adf7fefb9cde614",
    "maglev": "4f5f41a94f867e17",
    "rendezvous": "591f7ab64ebda9bf",
}


def golden_rings():
    weights = {"ide-01": 1, "ide-02": 2, "ide-03": 0.5, "ide-04": 3}
    return {name: build(pool(weights, settings)).fingerprint for name, settings in ALGORITHMS.items()}


def test_fingerprints_never_change_silently():
    """A new value here means that users of running installations move: never edit it without saying so to them."""
    assert golden_rings() == GOLDEN


def test_another_process_finds_the_same_fingerprints():
    code = "import json, test_build; print(json.dumps(test_build.golden_rings()))"
    here = str(Path(__file__).parent)
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "1234", "PYTHONPATH": here},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    assert json.loads(output) == GOLDEN


@every_algorithm
def test_rings_are_immutable(settings):
    ring = build(pool({"a": 1, "b": 1}, settings))
    with pytest.raises(AttributeError):
        ring.members = ()


def test_a_seed_is_never_shown():
    ring = build(pool({"a": 1}, {"hash": "blake2b", "seed": "hunter2"}))
    key = ring.hash.function.args[0]
    for text in (repr(ring), repr(ring.hash)):
        assert "hunter2" not in text
        assert repr(key)[2:-1] not in text


@every_algorithm
def test_point_counts(settings):
    counts = build(pool({"a": 1, "b": 2, "c": 1}, settings)).point_counts()
    if settings["algorithm"] == "rendezvous":
        assert counts == {}
    else:
        assert counts["a"] == pytest.approx(counts["c"], abs=1)
        assert counts["b"] == pytest.approx(2 * counts["a"], abs=2)


@pytest.mark.parametrize(
    ("weights", "settings", "overrides", "message"),
    [
        ({"a": 0}, {}, {}, "every weight is 0"),
        ({"a": 1, "b": 1}, {}, {"c": 1}, 'no backend "c"; it has a, b'),
        ({"a": 1}, {}, {"a": -1}, 'weight of "a" must be a number of at least 0, not -1'),
        ({"a": 1}, {}, {"a": math.nan}, 'weight of "a" must be a number of at least 0, not nan'),
        ({"a": 1}, {"algorithm": "maglev", "table_size": 65536}, {}, "number of slots must be a prime"),
        (dict.fromkeys("abcde", 1), {"algorithm": "maglev", "table_size": 5}, {}, "too small for 5 backends"),
    ],
)
def test_refusals_say_what_was_wrong(weights, settings, overrides, message):
    with pytest.raises(Refused, match=message):
        build(pool(weights, settings), overrides)


def test_two_backends_of_one_name_are_refused():
    config = pool({"a": 1})
    twice = config.model_copy(update={"backend": config.backend * 2})
    with pytest.raises(Refused, match="same name"):
        build(twice)


def test_live_weights_override_the_configured_ones():
    config = pool({"a": 1, "b": 1})
    assert build(config, {"a": 0}).members == ("b",)
    assert build(config, {"a": 3}).fingerprint == build(pool({"a": 3, "b": 1})).fingerprint
    assert side(build(config, {"a": 0.001})).shares["a"] > 0
