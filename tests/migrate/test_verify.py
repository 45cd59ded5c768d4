"""The comparison itself: a balancer that is simulated, with hosts that die and come back; and rings that differ."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.config.pool import BackendConfig, PoolConfig, RingConfig, TokenConfig
from balancer.migrate.logs.entry import Change, LoggedRequest, seconds
from balancer.migrate.verify import Cause, Verifier
from balancer.pool.digest import Digest
from balancer.ring.build import build

NAMES = ("a", "b", "c", "d")
START = seconds(b"21/Nov/2026:23:58:20")  # midnight comes soon


def pool(names=NAMES, token=None, **ring):
    ring = ring or {"algorithm": "haproxy", "hash_type": "consistent"}
    backends = tuple(BackendConfig(name=name, address=f"10.0.0.{number}:80") for number, name in enumerate(names, 1))
    return PoolConfig(name="ide", token=TokenConfig(**(token or {})), ring=RingConfig(**ring), backend=backends)


def verifier(given=None):
    return Verifier(given or pool(), Digest(b"key"))


def placed(ring, token, lost=()):
    return next(name for name in ring.order(token) if name not in lost)


def request(server, token, when, **more):
    return LoggedRequest(when, b"/?token=" + token, "10.9.9.9", "ide", (server,), **more)


def traffic(ring, outages=(), count=3000, users=300, seed=1, tunnels=False):
    """Requests, ten a second, as a balancer with these outages (host, from, to) would place them."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        when = number // 10
        lost = {name for name, start, end in outages if start <= when < end}
        token = b"user-%d" % chance.randrange(users)
        made.append(request(placed(ring, token, lost), token, START + when))
    if tunnels:  # they are logged when they end
        chance.shuffle(made)
    return made


def verdict(requests, to=None, changes=()):
    found = verifier(to)
    for change in changes:
        found.change(change)
    for number, each in enumerate(requests, 1):
        found.request(each, f"log:{number}")
    return found.verdict()


def causes(found):
    return {group.cause for group in found.groups}


def test_all_agree():
    found = verdict(traffic(build(pool())))
    assert (found.compared, found.agreed, found.groups, found.proved) == (3000, 3000, [], True)


@pytest.mark.parametrize("tunnels", [False, True])
@pytest.mark.parametrize(
    "outages", [[("b", 60, 90)], [("a", 60, 200), ("d", 90, 140)], [("c", 0, 50), ("c", 250, 300)]]
)
def test_an_outage_explains_itself(outages, tunnels):
    """nginx says nothing about servers; that one served nobody, and another its users, shows."""
    ring = build(pool())
    found = verdict(traffic(ring, outages, tunnels=tunnels))
    assert found.proved
    assert causes(found) == {Cause.SILENT}
    group = max(found.groups, key=lambda each: each.requests)
    assert group.owner in {name for name, _, _ in outages}
    assert len(group.users) > 3
    assert len(group.examples) == 3


def test_what_the_log_says_of_servers_explains_even_one_request():
    ring = build(pool())
    token = next(t for t in (b"user-%d" % n for n in range(99)) if ring.owner(t) == "b")
    one = [request(placed(ring, token, {"b"}), token, START + 100)]
    quiet = [each for each in traffic(ring) if each.servers != ("b",) or not 95 <= each.when - START <= 105]
    assert causes(verdict([*quiet, *one])) == {Cause.DIFFERS}
    changes = [Change(START + 110, "ide", "b", True), Change(START + 96, "ide", "b", False)]  # from two files
    assert causes(verdict([*quiet, *one], changes=changes)) == {Cause.DOWN}
    late = [each for each in quiet if each.servers != ("b",) or each.when > START + 100]
    assert causes(verdict([*late, *one], changes=changes[:1])) == {Cause.DOWN}  # it was down when the log began
    busy = [Change(START + 3, "ide", "b", False)]  # and back again without a line, after a reload
    assert causes(verdict([*traffic(ring), *one], changes=busy)) == {Cause.DIFFERS}


def test_a_host_that_was_away_all_the_time_must_be_named():
    ring = build(pool())
    requests = traffic(ring, [("c", 0, 999)])
    found = verdict(requests)
    assert causes(found) == {Cause.ABSENT}
    assert not found.proved
    found = verdict(requests, changes=[Change(0, "", "c", False)])
    assert causes(found) == {Cause.DOWN}
    assert found.proved


def test_a_host_more_or_less():
    more = verdict(traffic(build(pool())), to=pool((*NAMES, "e")))
    assert causes(more) == {Cause.ABSENT}
    assert {group.owner for group in more.groups} == {"e"}
    less = verdict(traffic(build(pool((*NAMES, "e")))))
    assert causes(less) == {Cause.STRANGER}
    assert not more.proved
    assert not less.proved


@settings(max_examples=12)
@given(
    st.sampled_from(
        [
            {"algorithm": "haproxy", "hash_type": "map-based"},
            {"algorithm": "haproxy", "hash_type": "consistent", "function": "sdbm"},
            {"algorithm": "nginx"},
            {"algorithm": "ring"},
        ]
    ),
    st.sampled_from([NAMES, NAMES[:2], ("b", "a", "c", "d")]),
    st.lists(st.tuples(st.just("b"), st.integers(0, 100), st.integers(110, 200)), max_size=1),
    st.integers(0, 99),
)
def test_no_other_ring_is_ever_proved(ring, names, outages, seed):
    right = pool(names)
    requests = traffic(build(right), outages, count=2200, seed=seed)
    assert verdict(requests, to=right).proved
    assert not verdict(requests, to=pool(names, **ring)).proved


@pytest.mark.parametrize("ring", [{"algorithm": "nginx"}, {"algorithm": "ring"}])
def test_nor_by_a_log_of_two_seconds(ring):
    """When all of it is close to its beginning and end, where everybody is silent."""
    hurried = [
        request(each.servers[0], each.target.partition(b"=")[2], START + number // 1500)
        for number, each in enumerate(traffic(build(pool())))
    ]
    assert verdict(hurried).proved
    assert not verdict(hurried, to=pool(**ring)).proved


def test_redispatched_passed_on_by_cookie():
    ring = build(pool())
    owner, second, *_ = ring.order(b"alice")
    found = verdict([request(second, b"alice", START, redispatched=True), *traffic(ring, count=1000)])
    assert causes(found) == {Cause.REDISPATCHED}
    assert causes(verdict([request(second, b"alice", START, by_cookie=True)])) == {Cause.COOKIE}
    tried = LoggedRequest(START, b"/?token=alice", "", None, ("10.0.0.9:80", "a"))
    assert causes(verdict([tried])) != {Cause.PASSED_ON}
    addresses = {each.name: str(each.address) for each in pool().backend}
    tried = LoggedRequest(START, b"/?token=alice", "", None, (addresses[owner], addresses[second]))
    found = verdict([tried])
    assert causes(found) == {Cause.PASSED_ON}
    assert found.proved


def test_one_failed_try_tells_an_outage():
    """nginx tries a dead server once in a while, and leaves it alone in between."""
    ring = build(pool())
    users = [token for token in (b"user-%d" % n for n in range(999)) if ring.owner(token) == "b"][:4]
    alive = [each for each in traffic(ring) if each.servers != ("b",) or each.when < START + 100]
    alone = [request(placed(ring, user, {"b"}), user, START + 120) for user in users[1:]]
    assert causes(verdict([*alive, *alone])) == {Cause.DIFFERS}
    tried = LoggedRequest(START + 118, b"/?token=" + users[0], "", "ide", ("b", placed(ring, users[0], {"b"})))
    assert causes(verdict([*alive, tried, *alone])) == {Cause.PASSED_ON, Cause.SILENT}


def test_what_cannot_be_compared():
    found = verdict(
        [
            LoggedRequest(START, b"/", "", "ide", ("a",)),
            LoggedRequest(START, None, "", "ide", ("a",)),
            LoggedRequest(START, b"/?token=x", "", "ide", ()),
        ]
    )
    assert found.left_out == {"no token": 1, "the line has no complete request": 1, "no host was tried": 1}
    assert (found.compared, found.proved) == (0, False)


def test_what_would_be_refused_here():
    twice = LoggedRequest(START, b"/?token=x&token=y", "", "ide", (build(pool()).owner(b"x"),))
    found = verdict([twice])
    assert causes(found) == {Cause.REFUSED}
    assert not found.proved
    assert verdict([twice], to=pool(token={"duplicates": "first"}, algorithm="haproxy", hash_type="consistent")).proved


def test_a_bounded_load_is_ambiguous():
    bounded = pool(algorithm="haproxy", hash_type="consistent", hash_balance_factor=150)
    _, second, *_ = build(bounded).order(b"alice")
    found = verdict([request(second, b"alice", START), *traffic(build(bounded))], to=bounded)
    assert causes(found) == {Cause.BOUND}


def test_tokens_are_nowhere_in_what_comes_of_it():
    ring = build(pool())
    wrong = [request("a", b"secret-%d" % n, START) for n in range(50) if ring.owner(b"secret-%d" % n) != "a"]
    assert "secret" not in repr(verdict(wrong))


def test_addresses_where_those_are_hashed():
    found = Verifier(pool(), Digest(b"key"), by_address=True)
    found.request(LoggedRequest(START, None, "10.9.9.9", "t", (build(pool()).owner(b"10.9.9.9"),)), "log:1")
    assert found.verdict().agreed == 1
