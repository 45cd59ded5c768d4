"""Probing: first verdicts, what becomes known when, and what outlives a restart. Time moves when a test says so."""

import json
import logging
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio
from probed import hosting, silent, status
from state import START, Kept, until
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.config.listener import ListenerConfig
from balancer.config.model import Config
from balancer.config.pool import BackendConfig, BackendHealthConfig, HealthConfig, PoolConfig
from balancer.control.prober import AT_ONCE, FIRST_RESULTS_TIMEOUT
from balancer.health.results import Verdict
from balancer.overlay.overlay import Add, Remove
from balancer.probes.probe import Probe
from balancer.store.health_file import HealthFile
from balancer.store.journal import Journal

INTERVAL = 2.0


FORGED = json.dumps(
    {"ide": {"a": {"state": "up", "since": 1.0, "address": "127.0.0.1:1", "text": "good\r\nX-Injected: yes"}}}
)


@pytest.fixture
def clock():
    return MockClock()


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.INFO)


def config(addresses, check=None, own=None, **health):
    backends = tuple(
        BackendConfig(name=name, address=address, check_address=(check or {}).get(name), **(own or {}).get(name, {}))
        for name, address in addresses.items()
    )
    settings = HealthConfig(**{"type": "http", "interval": f"{INTERVAL:g}s", "rise": 2, "fall": 2, **health})
    return Config(
        listener=(ListenerConfig(name="web", bind=("127.0.0.1:0",), pool="ide"),),
        pool=(PoolConfig(name="ide", health=settings, backend=backends),),
    )


class Site:
    """A prober at work on one pool."""

    def __init__(self, settings, clock, folder=None):
        self.clock = clock
        self.spare = tempfile.TemporaryDirectory()
        self.journal = Journal(Path(self.spare.name))
        self.controller = Kept(settings, self.journal, self.wall)
        self.pool = self.controller.pool_state("ide")
        self.prober = self.controller.prober(HealthFile(folder) if folder else None, Random(1))

    @staticmethod
    def wall():
        return START + trio.current_time()

    def health(self, name):
        return self.controller.pool_state("ide").health.get(name)

    def state(self, name):
        return self.health(name).state

    async def probed(self, *names, times=1):
        """Let time pass until each of them has been probed once more, and so on."""
        for _ in range(times):
            before = {name: checks(self.health(name)) for name in names}
            self.clock.jump(INTERVAL * 1.11)
            await until(lambda before=before: all(checks(self.health(name)) > n for name, n in before.items()))

    def owned_by(self, name):
        return next(
            token for token in (b"t%d" % n for n in range(999)) if self.pool.placement.ring.owner(token) == name
        )

    def decision(self, token):
        return next(self.pool.candidates(token, trio.current_time()))


def checks(health):
    return health.checks.passed + health.checks.failed


@asynccontextmanager
async def probing(settings, clock, folder=None, *, start=True):
    site = Site(settings, clock, folder)
    async with trio.open_nursery() as nursery:
        if start:
            await nursery.start(site.prober.run)
        try:
            yield site
        finally:
            nursery.cancel_scope.cancel()
            site.journal.close()
            site.spare.cleanup()


@asynccontextmanager
async def pair(clock, folder=None, **health):
    """Two hosts, a and b, both well so far."""
    async with (
        hosting(status(200)) as a,
        hosting(status(200)) as b,
        probing(config({"a": a.address, "b": b.address}, **health), clock, folder) as site,
    ):
        yield site, a, b


async def test_it_starts_with_a_verdict_on_everybody(clock):
    async with hosting(status(200)) as a, hosting(status(500)) as b, hosting(silent) as c:
        settings = config({"a": a.address, "b": b.address, "c": c.address})
        async with probing(settings, clock, start=False) as site, trio.open_nursery() as nursery:
            started = trio.Event()

            async def start():
                await nursery.start(site.prober.run)
                started.set()

            nursery.start_soon(start)
            await c.visited(1)
            await until(lambda: checks(site.health("a")) and checks(site.health("b")))
            await wait_all_tasks_blocked()
            assert not started.is_set()
            assert site.pool.backends["c"].unavailable() == "not probed yet"
            clock.jump(1)
            await started.wait()
            assert [site.state(name) for name in "abc"] == [Verdict.UP, Verdict.DOWN, Verdict.DOWN]
            assert {site.decision(b"t%d" % n).backend.name for n in range(99)} == {"a"}
            nursery.cancel_scope.cancel()


async def test_it_does_not_wait_for_ever(clock):
    async with (
        hosting(silent) as host,
        probing(config({"a": host.address}, timeout="1h"), clock, start=False) as site,
        trio.open_nursery() as nursery,
    ):
        started = trio.Event()

        async def start():
            await nursery.start(site.prober.run)
            started.set()

        nursery.start_soon(start)
        await host.visited(1)
        clock.jump(FIRST_RESULTS_TIMEOUT)
        await started.wait()
        assert site.state("a") is Verdict.UNKNOWN
        assert site.decision(b"t").reason == "panic"
        nursery.cancel_scope.cancel()


async def test_a_host_goes_down_its_users_move_at_once_and_return(clock, caplog):
    async with pair(clock) as (site, a, _):
        token = site.owned_by("a")
        caplog.clear()
        a.talk = status(503)
        await site.probed("a")
        assert site.decision(token).backend.name == "a"
        await site.probed("a")
        found = site.decision(token)
        assert (found.backend.name, found.reason) == ("b", "successor")
        assert found.skipped == (("a", "unhealthy: status 503"),)
        lease = site.pool.leases.open(token, "tab", "b")
        assert site.pool.backends["a"].unavailable()

        a.talk = status(200)
        await site.probed("a", times=2)
        assert site.decision(token).backend.name == "b", "who has a tunnel stays where it is"
        site.pool.leases.close(lease, "tab", trio.current_time() - 999)
        assert site.decision(token).backend.name == "a"

        down, up = [record for record in caplog.records if record.name == "balancer.health"]
        assert (down.levelname, up.levelname) == ("WARNING", "INFO")
        assert down.getMessage() == "backend a of pool ide: up -> down: status 503 (up for 4s)"
        assert up.getMessage() == "backend a of pool ide: down -> up: status 200 (down for 4s)"


async def test_a_wish_keeps_new_users_away_and_nobody_who_is_there(clock, caplog):
    async with pair(clock) as (site, a, _):
        token, guest = site.owned_by("a"), b"guest"
        site.pool.leases.open(guest, "tab", "a")
        for requested_state, why in [("drain", "asks to be drained"), ("degraded", "degraded")]:
            a.talk = status(200, f"Balancer-Health: {requested_state}")
            await site.probed("a")
            found = site.decision(token)
            assert (found.backend.name, found.skipped) == ("b", (("a", why),))
            assert site.decision(guest).backend.name == "a"
            assert f"backend a of pool ide asks for: {requested_state}" in caplog.messages
        a.talk = status(200)
        await site.probed("a")
        assert site.decision(token).backend.name == "a"
        assert "backend a of pool ide asks for: nothing any more" in caplog.messages


async def test_somewhere_else_is_probed(clock):
    async with hosting(status(500)) as host, hosting(status(200)) as checked:
        settings = config({"a": host.address}, check={"a": checked.address})
        async with probing(settings, clock) as site:
            assert site.state("a") is Verdict.UP
            assert (host.visits, checked.visits) == (0, 1)


async def test_one_backend_is_left_alone_and_one_falls_sooner(clock):
    async with hosting(status(500)) as a, hosting(status(200)) as b, hosting(status(200)) as c:
        own = {"a": {"check": False}, "b": {"health": BackendHealthConfig(fall=1)}}
        settings = config({"a": a.address, "b": b.address, "c": c.address}, own=own)
        async with probing(settings, clock) as site:
            assert (a.visits, site.health("a")) == (0, None)
            assert site.decision(site.owned_by("a")).reason == "owner"
            b.talk = c.talk = status(500)
            await site.probed("b", "c")
            assert (site.state("b"), site.state("c")) == (Verdict.DOWN, Verdict.UP)


async def test_backends_that_come_and_go(clock):
    async with pair(clock) as (site, *_), hosting(status(200)) as c:
        await site.controller.change("ide", [Add(name="c", address=str(c.address), weight=1.0)], "tests")
        assert site.pool.backends["c"].unavailable() == "not probed yet"
        clock.jump(0.5)
        await until(lambda: site.pool.backends["c"].availability.clear)
        await site.controller.change("ide", [Remove(name="c")], "tests")
        await site.probed("a", "b")
        visits = c.visits
        for _ in range(3):
            await site.probed("a", "b")
        assert c.visits == visits


async def test_so_many_at_once_and_no_more(clock):
    async with hosting(silent) as host:
        addresses = {f"h{n:03}": host.address for n in range(AT_ONCE + 50)}
        site_of = probing(config(addresses, timeout="3s", interval="1h"), clock, start=False)
        async with site_of as site, trio.open_nursery() as nursery:
            nursery.start_soon(site.prober.run)
            await host.visited(AT_ONCE)
            await wait_all_tasks_blocked()
            assert host.open == AT_ONCE
            clock.jump(3)
            await host.visited(AT_ONCE + 50)
            await until(lambda: host.open == 50)
            nursery.cancel_scope.cancel()


async def test_a_fault_of_ours_is_a_failed_probe_and_logged_once(clock, caplog, monkeypatch):
    async with pair(clock) as (site, *_):

        async def broken(self, backend, address):
            raise ZeroDivisionError

        monkeypatch.setattr(Probe, "run", broken)
        await site.probed("a", "b", times=3)
        assert site.pool.backends["a"].unavailable() == "unhealthy: the probe crashed"
        tracebacks = [record.getMessage() for record in caplog.records if record.exc_info]
        assert sorted(tracebacks) == [f"the probe of backend {name} of pool ide crashed" for name in "ab"]
        monkeypatch.undo()
        await site.probed("a", "b", times=2)
        assert site.state("a") is Verdict.UP


async def test_a_probe_that_could_not_be_made_says_nothing(clock, monkeypatch):
    async with pair(clock) as (site, *_):
        tried = 0

        async def unable(self, backend, address):
            nonlocal tried
            tried += 1

        monkeypatch.setattr(Probe, "run", unable)
        while tried < 8:
            clock.jump(INTERVAL * 1.11)
            await wait_all_tasks_blocked()
        assert (site.state("a"), checks(site.health("a"))) == (Verdict.UP, 1)


async def test_an_agent_steers_its_host(clock, caplog):
    async def tells(host, stream):
        await stream.send_all(host.line)

    async with hosting(tells) as agent:
        agent.line = b"50%\n"
        settings = {"agent": {"port": agent.address.port, "interval": "2s"}, "type": "tcp"}
        async with (
            hosting(silent) as a,
            probing(config({"a": a.address, "b": agent.address}, **settings), clock) as site,
        ):
            # One agent speaks for both, who live at one address; b is the agent itself.
            health, token = site.health("a"), site.owned_by("a")
            await until(lambda: health.percent == site.health("b").percent == 50)
            assert "backend a of pool ide: its agent says 50% ready up" in caplog.messages
            site.health("b").percent = 100
            async with trio.open_nursery() as nursery:
                nursery.start_soon(site.controller.run)
                await wait_all_tasks_blocked()
                clock.jump(1)
                await until(lambda: site.controller.pool_state("ide").weights == {"a": 0.5, "b": 1.0})
                nursery.cancel_scope.cancel()
            assert site.pool.placement.ring.weights["a"] == 0.5

            for line, why in [(b"maint", "asks for maintenance"), (b"ready down", "unhealthy: its agent says down")]:
                agent.line = line
                clock.jump(2.21)
                await until(lambda why=why: site.pool.left_out(site.pool.backends["a"], None, 0.0) == why)
            site.pool.leases.open(token, "tab", "a")
            agent.line = b"up"
            clock.jump(2.21)
            await until(lambda: site.pool.backends["a"].availability.clear)


async def test_a_reload_goes_on_with_what_is_held(clock):
    """An agent's word, how long an outlier stays out, what was counted; whatever has changed of how it is probed."""

    async def tells(host, stream):
        await stream.send_all(b"50%\n")

    async with hosting(tells) as agent, hosting(silent) as b:
        settings = {"agent": {"port": agent.address.port, "interval": "60s"}, "type": "tcp"}
        addresses = {"a": agent.address, "b": b.address}
        async with probing(config(addresses, **settings), clock) as site:
            await until(lambda: site.health("a").percent == 50)
            site.health("b").ejection.eject("ejected: tests", trio.current_time(), 300, 300)
            count = checks(site.health("a"))
            for changed, percent in [({"fall": 9}, 50), ({"agent": {}}, 100)]:
                (await site.controller.reconfigure(config(addresses, **settings | changed), "tests"))()
                clock.jump(0.5)
                await until(lambda before=count: checks(site.health("a")) > before)
                count = checks(site.health("a"))
                assert site.health("a").percent == percent
                assert site.pool.backends["b"].availability.ejected == "ejected: tests"


async def test_what_arrives_as_a_reload_takes_effect_is_too_late(clock):
    """In one turn of the loop an agent's answer is read and its task cancelled, in either order."""
    asked = []

    async def hesitates(host, stream):
        asked.append(stream)
        await trio.sleep_forever()

    async with hosting(hesitates) as agent, hosting(silent) as a:
        ignored = config({"a": a.address}, type="tcp")
        heeded = config({"a": a.address}, type="tcp", agent={"port": agent.address.port, "interval": "60s"})
        async with probing(ignored, clock) as site:
            for _ in range(12):
                (await site.controller.reconfigure(heeded, "tests"))()
                clock.jump(0.5)
                await until(lambda: asked)
                (await site.controller.reconfigure(ignored, "tests"))()
                count = checks(site.health("a"))
                clock.jump(0.5)
                await asked.pop().send_all(b"50%\n")
                await until(lambda before=count: checks(site.health("a")) > before)
                assert site.health("a").percent == 100


class TestMemory:
    async def written(self, path, condition):
        def good():
            try:
                return condition(json.loads(path.read_text())["ide"])
            except (FileNotFoundError, KeyError):
                return False

        await until(good)

    async def test_a_restart_goes_on_with_what_was_known(self, clock, tmp_path):
        path = tmp_path / "health.json"
        async with hosting(status(200)) as a, hosting(status(500)) as b, hosting(silent) as c:
            settings = config({"a": a.address, "b": b.address})
            async with probing(settings, clock, tmp_path):
                await self.written(path, lambda known: known["a"]["state"] == "up" and known["b"]["state"] == "down")
            assert path.stat().st_mode & 0o777 == 0o600
            assert [each.name for each in tmp_path.iterdir()] == ["health.json"]
            clock.jump(100)
            a.talk = b.talk = silent
            async with probing(config({"a": a.address, "b": b.address}), clock, tmp_path) as site:
                assert [site.state(name) for name in "ab"] == [Verdict.UP, Verdict.DOWN]
                assert site.health("a").since == pytest.approx(0.0, abs=1e-3)
                assert site.pool.backends["b"].unavailable() == "unhealthy: status 500"
                a.talk = status(500)
                await site.probed("a", times=2)
                assert site.state("a") is Verdict.DOWN
                clock.jump(1)
                await self.written(path, lambda known: known["a"]["state"] == "down")
            # Another address is another host, whatever its name.
            c.talk = status(200)
            async with probing(config({"a": a.address, "b": c.address}), clock, tmp_path) as site:
                assert site.state("b") is Verdict.UP

    @pytest.mark.parametrize(
        "text", [FORGED, "", "{", "[]", '{"ide": {"a": {"state": "up"}}}', '{"ide": {"a": 1}}', "\0"]
    )
    async def test_a_damaged_file_is_no_file(self, clock, tmp_path, caplog, text):
        (tmp_path / "health.json").write_text(text)
        async with pair(clock, tmp_path) as (site, *_):
            assert [site.state(name) for name in "ab"] == [Verdict.UP, Verdict.UP]
        assert [record for record in caplog.messages if "cannot be read" in record]

    async def test_a_disk_that_takes_nothing_is_no_reason_to_stop(self, clock, tmp_path, caplog):
        (tmp_path / "health.json.new").mkdir()
        async with pair(clock, tmp_path) as (site, *_):
            await until(lambda: any("after a restart the backends will be unknown" in line for line in caplog.messages))
            await site.probed("a", "b")


async def test_nothing_is_probed_where_nothing_is_to_be(clock):
    async with hosting(status(200)) as host, probing(config({"a": host.address}, type="off"), clock) as site:
        clock.jump(60)
        await wait_all_tasks_blocked()
        assert (host.visits, site.health("a")) == (0, None)
        assert site.decision(b"t").backend.name == "a"


async def test_a_host_that_flaps_is_kept_out_and_it_is_said_once(clock, caplog):
    async with pair(clock, rise=1, fall=1) as (site, a, _):
        token = site.owned_by("a")
        for code in (500, 200, 500, 200):
            a.talk = status(code)
            await site.probed("a")
        assert site.state("a") is Verdict.UP
        found = site.decision(token)
        assert (found.backend.name, found.skipped) == ("b", (("a", "kept out: it went down 2 times lately"),))
        lease = site.pool.leases.open(token, "tab", "a")
        assert site.decision(token).backend.name == "a", "who has a tunnel there sees that it works"
        site.pool.leases.leave(lease, {"a"})
        clock.jump(30)
        await until(lambda: site.decision(token).backend.name == "a")
        said = [line for line in caplog.messages if "->" not in line]
        assert said == [
            "backend a of pool ide: kept out: it went down 2 times lately; no new users for 30 s",
            "backend a of pool ide: takes new users again",
        ]


async def test_a_host_that_fails_its_users_is_ejected_though_nobody_probes_it(clock, caplog):
    passive = {"mode": "on", "consecutive": 2, "clients": 1}
    async with hosting(silent) as a, hosting(silent) as b:
        settings = config({"a": a.address, "b": b.address}, type="off", passive=passive)
        async with probing(settings, clock) as site:
            token, backend = site.owned_by("a"), site.pool.backends["a"]
            for n in range(2):
                backend.tally.fail(f"address-{n}", f"token-{n}")
            clock.jump(0.5)
            await until(lambda: site.decision(token).backend.name == "b")
            assert site.decision(token).skipped == (("a", "ejected: 2 failures in a row"),)
            assert (site.state("a"), site.health("a").text, a.visits) == (Verdict.UP, "not probed", 0)
            events = site.controller.events.behind(0)[1]
            assert [(each.text, each.about["ejected"]) for each in events if each.kind == "health"] == [
                ("a: ejected: 2 failures in a row; no new users for 30 s", "ejected: 2 failures in a row")
            ]
            clock.jump(30)
            await until(lambda: site.decision(token).backend.name == "a")
            assert caplog.messages[-1] == "backend a of pool ide: takes new users again"
            await site.controller.change("ide", [Remove(name="b")], "tests")
            clock.jump(1)
            await until(lambda: site.pool.placement.ring.members == ("a",))
