"""Admission: limits of all workers together, clients that take too much, handshakes that never end, and memory."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from net_rig import gate_for, pair, parked, passes, running, settle

from balancer.config.model import LimitsConfig
from balancer.config.scalars import Memory
from balancer.net.admission import REPORT_INTERVAL, client_key
from balancer.net.connection_limit import HANDSHAKE_TURN
from balancer.net.engine import Engine, TimedOut
from balancer.shared.counters import SharedCounters, size


@pytest.fixture
def view():
    return memoryview(bytearray(size(2)))


@pytest.fixture
def engine():
    """One that is not run: nothing here waits."""
    engine = Engine()
    yield engine
    engine._epoll.close()
    engine._bell.close()


@pytest.fixture
def workers(engine, view):
    """Makes the gates of two workers."""
    made = []

    def make(**limits):
        made.extend(gate_for(engine, shared_counters=SharedCounters(view, row), **limits) for row in range(2))
        return made

    yield make
    for admission in made:
        admission.close()


class TestRooms:
    def test_a_limit_holds_for_all_workers(self, workers):
        one, other = workers(connections=3)
        one.connections.enter()
        one.connections.enter()
        assert not other.connections.full()
        other.connections.enter()
        assert one.connections.full()
        assert other.connections.full()
        one.connections.leave()
        assert not other.connections.full()

    def test_each_listener_has_its_own(self, workers):
        one, other = workers()
        first, second = one.connection_limit(1, 0), one.connection_limit(1, 1)
        other.connection_limit(1, 0).enter()
        assert first.full()
        assert not second.full()

    def test_none_is_no_limit(self, workers):
        room = workers()[0].connection_limit(0, 0)
        for _ in range(1000):
            room.enter()
        assert not room.full()

    def test_limits_may_be_replaced(self, workers):
        one, _ = workers(connections=1)
        one.connections.enter()
        assert one.connections.full()
        one.limits = LimitsConfig(max_connections=2)
        assert not one.connections.full()


class TestClients:
    def test_one_client_has_so_many_connections_in_all_workers(self, workers):
        one, other = workers(max_connections_per_client=2)
        first = one.admit("10.0.0.1")
        assert other.admit("10.0.0.1")
        assert one.admit("10.0.0.1") is None
        assert other.admit("10.0.0.1") is None
        assert one.admit("10.0.0.2")
        one.depart(first)
        assert other.admit("10.0.0.1")
        assert one.refused["client_limit"] == other.refused["client_limit"] == 1

    def test_a_worker_that_dies_takes_its_connections_along(self, workers, engine, view):
        one, other = workers(max_connections_per_client=1)
        assert one.admit("10.0.0.1")
        assert other.admit("10.0.0.1") is None
        SharedCounters(view, 0)  # of the one that takes its place
        assert other.admit("10.0.0.1")

    def test_one_client_comes_so_fast_to_all_workers(self, engine, view):
        now = [100.0]
        one, other = (
            gate_for(
                engine,
                shared_counters=SharedCounters(view, row),
                clock=lambda: now[0],
                client_rate="2/s",
                client_burst=3,
            )
            for row in range(2)
        )
        assert all(admission.admit("10.0.0.1") for admission in (one, other, one))
        assert one.admit("10.0.0.1") is None
        assert other.admit("10.0.0.1") is None
        assert other.admit("10.0.0.2")
        now[0] += 0.5
        assert other.admit("10.0.0.1")
        assert one.admit("10.0.0.1") is None
        assert (one.refused["client_rate"], other.refused["client_rate"]) == (2, 1)
        for admission in (one, other):
            admission.close()

    def test_without_limits_nobody_is_counted(self, workers):
        one, _ = workers()
        assert not one.per_client
        one.limits = LimitsConfig(client_rate="1/s")
        assert one.per_client

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("10.0.0.1", "10.0.0.1", True),
            ("10.0.0.1", "10.0.0.2", False),
            ("2001:db8::1", "2001:db8::ffff:1", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("::ffff:10.0.0.1", "10.0.0.1", True),
            ("fe80::1%eth0", "fe80::2%eth0", True),
        ],
    )
    def test_who_is_one_client(self, one, other, same):
        assert (client_key(one) == client_key(other)) is same

    @given(st.ip_addresses())
    def test_every_address_is_some_client(self, address):
        assert len(client_key(str(address))) >= 7


class TestHandshakes:
    async def test_at_the_limit_the_oldest_give_way(self, clock):
        async with running() as engine:
            admission = gate_for(engine, max_handshakes=2)
            ended = []

            def shake(name):
                client, peer = pair(engine)
                peer.close()
                admission.handshakes.begin(client)
                client.task = engine.spawn(serve(client, name))

            async def serve(client, name):
                try:
                    await parked()
                except TimedOut:
                    ended.append(name)
                finally:
                    admission.handshakes.end(client)
                    client.close()

            shake("first")
            await passes(clock, HANDSHAKE_TURN / 2)
            shake("second")
            assert admission.handshakes.full()
            admission.handshakes.make_room(1)
            await settle()
            assert ended == []
            await passes(clock, HANDSHAKE_TURN / 2)
            admission.handshakes.make_room(5)
            assert not admission.handshakes.full()
            await settle()
            assert ended == ["first"]
            assert admission.refused["handshakes"] == 1
            assert admission.handshakes.held == 1
            admission.close()


class TestMemory:
    def test_above_the_watermark_nobody_new_comes_in(self, engine, view, caplog):
        used = [99 << 20]
        admission = gate_for(
            engine, shared_counters=SharedCounters(view, 0), memory=Memory(bytes=100 << 20), used=lambda: used[0]
        )
        admission.check_memory()
        assert not admission.starved
        used[0] = 101 << 20
        admission.check_memory()
        admission.check_memory()
        assert admission.starved
        (line,) = caplog.records
        assert line.levelno == logging.ERROR
        assert "101 MiB of memory are in use, more than the 100 MiB" in line.getMessage()
        used[0] = 96 << 20  # not at once, or it would come and go
        admission.check_memory()
        assert admission.starved
        used[0] = 94 << 20
        admission.check_memory()
        assert not admission.starved
        assert "accepted again" in caplog.text
        admission.close()

    def test_all_workers_share_the_memory(self, workers):
        one, other = workers(memory=Memory(bytes=100), used=lambda: 60)
        one.check_memory()
        assert not one.starved
        other.check_memory()
        assert other.starved

    def test_without_a_limit_anything_goes(self, workers):
        one, _ = workers(memory=Memory(), used=lambda: 1 << 60)
        one.check_memory()
        assert not one.starved


def test_the_log_tells_of_refusals_now_and_then(engine, workers, caplog):
    one, _ = workers(max_connections_per_client=1)
    engine.now = 1000.0
    one.admit("10.0.0.1")
    one.report()
    assert not caplog.records
    for _ in range(3):
        one.admit("10.0.0.1")
    one.report()
    one.admit("10.0.0.1")
    one.report()
    (line,) = caplog.messages
    assert line.startswith("3 connections were refused of clients that had too many")
    engine.now += REPORT_INTERVAL
    one.report()
    one.report()
    assert [line[0] for line in caplog.messages] == ["3", "1"]
