"""Leases against a plain account of every tunnel: counts, places, ends."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from balancer.pool.leases import Leases

LINGER = 30.0
tokens = st.sampled_from([b"ann", b"bob", b"eve"])
backends = st.sampled_from(["a", "b", "c"])


class Users(RuleBasedStateMachine):
    """``open`` holds [token, session, backend] in the order of opening; ``ended`` when and where a user was last.

    ``elsewhere`` is where users are by the word of control, which alone ends that.
    """

    tunnels = Bundle("tunnels")

    @initialize()
    def start(self):
        self.leases = Leases(LINGER)
        self.now = 0.0
        self.open = []
        self.ended = {}
        self.elsewhere = {}
        self.number = 0

    def places(self, token):
        return [backend for owner, _, backend in self.open if owner == token]

    @rule(target=tunnels, token=tokens, backend=backends)
    def opens(self, token, backend):
        self.number += 1
        lease = self.leases.open(token, self.number, backend)
        self.open.append((token, self.number, backend))
        self.ended.pop(token, None)
        if token in self.elsewhere:
            self.elsewhere[token] = (backend, True)  # this tunnel is newer than what control has said
        return lease, self.number

    @rule(token=tokens, backend=backends, connected=st.booleans())
    def is_elsewhere(self, token, backend, connected):
        self.leases.follow(token, (backend, connected))
        self.elsewhere[token] = (backend, connected)
        self.ended.pop(token, None)

    @rule(token=tokens)
    def is_where_the_ring_says(self, token):
        self.leases.follow(token, None)
        self.elsewhere.pop(token, None)

    @rule(tunnel=consumes(tunnels))
    def closes(self, tunnel):
        lease, session = tunnel
        self.leases.close(lease, session, self.now)
        for entry in [entry for entry in self.open if entry[1] == session]:
            self.open.remove(entry)
            if not self.places(lease.token) and lease.token not in self.elsewhere:
                self.ended[lease.token] = (self.now, entry[2])

    @rule(target=tunnels, tunnel=tunnels)
    def closes_twice(self, tunnel):
        self.closes(tunnel)
        return multiple()

    @rule(tunnel=tunnels, where=st.sets(backends))
    def evicts(self, tunnel, where):
        """By a lease that may be of long ago: a mover holds one while it waits for its turn."""
        lease, _ = tunnel
        current = any(session in lease.sessions for token, session, _ in self.open if token == lease.token)
        expected = [s for token, s, place in self.open if current and token == lease.token and place in where]
        assert self.leases.leave(lease, where) == expected
        self.open = [entry for entry in self.open if entry[1] not in expected]
        if expected and not self.places(lease.token):
            self.elsewhere.pop(lease.token, None)

    @rule(seconds=st.sampled_from([1.0, LINGER - 0.5, LINGER, 100.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def sweep(self):
        self.leases.expire(self.now)
        assert len(self.leases) == len(
            {token for token, _, _ in self.open} | self.lingering().keys() | self.elsewhere.keys()
        )

    def lingering(self):
        return {token: place for token, (at, place) in self.ended.items() if self.now < at + LINGER}

    @invariant()
    def as_counted(self):
        expected = Counter(self.places(token)[-1] for token in {token for token, _, _ in self.open})
        assert {name: users for name, users in self.leases.users.items() if users} == expected

    @invariant()
    def as_placed(self):
        lingering = self.lingering()
        for token in (b"ann", b"bob", b"eve", b"nobody"):
            lease = self.leases.get(token, self.now)
            if token in self.elsewhere:
                backend, connected = self.elsewhere[token]
                assert lease.place == next(lease.places()) == backend
                assert list(lease.sessions.values()) == self.places(token)
                for name in "abc":
                    assert lease.holds(name) == (name in self.places(token) or (connected and name == backend))
            elif places := self.places(token):
                assert lease.place == places[-1]
                assert list(lease.sessions.values()) == places
            elif token in lingering:
                assert lease.place == lingering[token]
                assert not lease.sessions
            else:
                assert lease is None

    @invariant()
    def as_seen(self):
        assert sorted(lease.token for lease in self.leases.live()) == sorted({token for token, _, _ in self.open})

    def teardown(self):
        """Nothing leaks."""
        for token, session, _ in list(self.open):
            self.leases.close(self.leases.get(token, self.now), session, self.now)
        for token in self.elsewhere:
            self.leases.follow(token, None)
        self.leases.expire(self.now + LINGER)
        assert len(self.leases) == 0
        assert not any(self.leases.users.values())


Users.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestUsers = Users.TestCase


def test_a_later_lease_survives_the_eviction_of_an_earlier_one():
    """The user has left and come back while a mover was still working through its list."""
    leases = Leases(LINGER)
    old = leases.open(b"ann", 1, "a")
    leases.leave(old, {"a"})
    new = leases.open(b"ann", 2, "b")
    assert leases.leave(old, {"a", "b"}) == []
    assert leases.get(b"ann", 0.0) is new
    assert leases.users["b"] == 1


def test_an_ended_lease_holds_nothing():
    """Not even what control said of it: whoever still has it must not take the user to be there."""
    leases = Leases(LINGER)
    lease = leases.open(b"ann", 1, "a")
    leases.follow(b"ann", ("a", True))
    assert lease.holds("a")
    leases.leave(lease, {"a"})
    assert not lease.holds("a")


def test_evicting_nobody_ends_no_lease():
    leases = Leases(LINGER)
    lease = leases.open(b"ann", 1, "a")
    leases.close(lease, 1, 0.0)
    assert leases.leave(lease, {"a"}) == []
    assert leases.get(b"ann", 0.0) is lease


def test_a_lease_is_over_at_the_second_its_linger_is():
    leases = Leases(LINGER)
    leases.close(leases.open(b"ann", 1, "a"), 1, 5.0)
    assert leases.get(b"ann", 34.9).place == "a"
    assert leases.get(b"ann", 35.0) is None
