"""An hour with a host that flaps: users are moved a few times, not with every beat, and never torn apart."""

from functools import cache
from random import Random

import pytest
from pools import config, steered

from balancer.config.pool import HealthConfig
from balancer.health.outliers import Outliers
from balancer.health.results import Result, Verdict
from balancer.health.tracker import HealthTracker
from balancer.pool.pool import Pool
from balancer.ring.build import build

NAMES = ["a", "b", "c"]
FLAPS = [(3, 3), (8, 4), (30, 30)]
STEP, HOUR = 1.0, 3600.0
TOKENS = [b"token-%d" % n for n in range(20)]
HEALTH = {"type": "tcp", "interval": "2s", "fast_interval": "1s", "slow_start": "20s", "passive": {"mode": "on"}}
UNDAMPED = {"ejection_time": "100ms", "max_ejection_time": "100ms"}


class Tab:
    """A tunnel of a user."""

    def __init__(self, host):
        self.host = host
        self.lease = None


class World:
    """A pool, its health, and users who open and close tabs. The host a lives for ``up`` seconds at a time."""

    def __init__(self, up, down, **health):
        self.settings = config(NAMES).model_copy(update={"health": HealthConfig(**{**HEALTH, **health})})
        self.up, self.down, self.random, self.now = up, down, Random(1), 0.0
        self.placement = cache(lambda weights: steered(self.settings, ring=build(self.settings, dict(weights))))
        self.pool = Pool(self.settings, self.placement(tuple((name, 1.0) for name in NAMES)))
        self.healths = {name: HealthTracker(self.settings.health) for name in NAMES}
        for health in self.healths.values():
            health.restore(Verdict.UP, 0.0, "")
        self.outliers = Outliers(self.settings.health)
        self.due = dict.fromkeys(NAMES, 0.0)
        self.tabs = {token: [] for token in TOKENS}
        self.last = {}
        self.moves = dict.fromkeys(TOKENS, 0)
        self.turns = 0
        """Times that a went out or came in."""

    def passes(self, seconds):
        until = self.now + seconds
        while self.now < until:
            self.now += STEP
            self.probe()
            self.judge()
            if not self.alive("a"):
                self.cut("a")
            for token in TOKENS:
                if self.random.random() < STEP / 10:
                    self.act(token)
            assert all(len(set(lease.sessions.values())) == 1 for lease in self.pool.leases.live()), "a split"
            self.pool.leases.expire(self.now)
        return self

    def alive(self, name):
        return name != "a" or self.now % (self.up + self.down) < self.up

    def probe(self):
        for name, health in self.healths.items():
            if self.settings.health.type != "off" and self.now >= self.due[name]:
                health.observe(Result(self.alive(name), ""), self.now)
                self.due[name] = self.now + health.delay(self.random)

    def judge(self):
        backend = self.pool.backends["a"]
        out = backend.availability.out
        self.outliers.look({name: each.take() for name, each in self.pool.backends.items()}, self.healths, self.now)
        self.pool.update_availability({name: health.stand(self.now) for name, health in self.healths.items()})
        self.turns += backend.availability.out != out
        placement = self.placement(tuple((name, health.warmth(self.now)) for name, health in self.healths.items()))
        if placement is not self.pool.placement:
            self.pool.place(placement)

    def cut(self, host):
        """Its process dies, and with it every connection."""
        for token, tabs in self.tabs.items():
            for tab in tabs:
                if tab.host == host:
                    self.pool.leases.close(tab.lease, tab, self.now)
            self.tabs[token] = [tab for tab in tabs if tab.host != host]

    def act(self, token):
        """The user asks for something, and may open a tab or close the oldest."""
        host = self.place(token)
        self.moves[token] += self.last.get(token, host) != host
        self.last[token] = host
        tabs, requested_state = self.tabs[token], self.random.random()
        if requested_state < 0.2 and len(tabs) < 3:
            tabs.append(tab := Tab(host))
            tab.lease = self.pool.leases.open(token, tab, host)
        elif requested_state > 0.7 and tabs:
            tab = tabs.pop(0)
            self.pool.leases.close(tab.lease, tab, self.now)

    def place(self, token):
        first = self.pool.first(token, self.now)
        for found in [*([first] if first else []), *self.pool.candidates(token, self.now, after=first)]:
            backend = found.backend
            if self.alive(backend.name):
                backend.connected()
                backend.tally.answers += 1
                return backend.name
            backend.connect_failed(self.now)
            backend.tally.fail(token.decode(), token.decode())
        raise AssertionError("two hosts are always there")


@pytest.mark.parametrize(("up", "down"), FLAPS)
def test_users_are_moved_a_few_times_in_an_hour(up, down):
    world = World(up, down).passes(HOUR)
    assert 1 <= world.turns <= 10
    assert 1 <= max(world.moves.values()) <= 6
    # It behaves from now on: everybody returns, once.
    world.up, world.moves = 10 * HOUR, dict.fromkeys(TOKENS, 0)
    turns = world.passes(400).turns
    assert not world.pool.backends["a"].availability.out
    assert world.passes(400).turns == turns
    assert max(world.moves.values()) <= 1
    home = world.pool.placement.ring.owner
    assert all(tabs or world.place(token) == home(token) for token, tabs in world.tabs.items())


def test_what_it_would_be_without():
    world = World(8, 4, **UNDAMPED).passes(HOUR)
    assert world.turns > 100
    assert max(world.moves.values()) > 20


@pytest.mark.parametrize(("up", "down"), FLAPS)
def test_where_nobody_probes(up, down):
    """Then those who find it dead know it for themselves, and each time others come first for longer."""
    world = World(up, down, type="off", passive={}).passes(HOUR)
    assert world.pool.backends["a"].connect_errors <= 75
    assert max(world.moves.values()) <= 40
