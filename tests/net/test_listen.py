"""Accepting: batches, the connection limit, a lack of descriptors, and listeners that outlive their clients' errors."""

import errno
import os
import resource
import socket
from contextlib import contextmanager
from itertools import pairwise

import pytest
import trio
from net_rig import Job, connected, gate_for, parked, passes, running, settle

from balancer.config.scalars import Address
from balancer.errors import Source
from balancer.net.bind import open_listener
from balancer.net.connection_limit import HANDSHAKE_TURN
from balancer.net.engine import SWEEP_INTERVAL, Closed
from balancer.net.listen import ACCEPT_BATCH, Acceptor
from balancer.net.transport import PlainTransport

LOOPBACK = Address("127.0.0.1", 0)


class Echo:
    """An acceptor whose connections send back what they get, and leave the gate when they end."""

    def __init__(self, engine, admission, limit=0, others=()):
        self.engine, self.admission = engine, admission
        self.handled = 0
        self.room = admission.connection_limit(limit, 0)
        sock = open_listener(LOOPBACK)
        self.address = sock.getsockname()
        self.acceptor = Acceptor(admission, self.room, sock, self.handle, others)
        self.acceptor.start()

    def handle(self, sock, peer):
        assert sock.getpeername() == peer
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self.handled += 1
        transport = PlainTransport(self.engine, sock, Source.CLIENT, None)
        transport.task = self.engine.spawn(self.serve(transport))

    async def serve(self, transport):
        try:
            while data := await transport.recv():
                await transport.send(data)
        finally:
            transport.close()
            self.room.leave()
            self.admission.connections.leave()


async def echoes(client):
    client.send(b"ping")
    await settle()
    return client.recv(4) == b"ping"


async def waits(client):
    """Nobody has accepted or closed it."""
    client.send(b"ping")
    await settle()
    with pytest.raises(BlockingIOError):
        client.recv(4)
    return True


async def test_clients_are_accepted_and_served():
    async with running() as engine:
        admission = gate_for(engine, 10)
        echo = Echo(engine, admission)
        clients = [connected(echo.address) for _ in range(5)]
        for client in clients:
            assert await echoes(client)
        assert admission.connections.held == 5
        for client in clients:
            client.close()
        await settle()
        assert admission.connections.held == 0
        admission.close()


async def test_at_most_64_are_accepted_before_everybody_else_has_a_turn():
    async with running() as engine:
        admission = gate_for(engine, 1000)
        sock = open_listener(LOOPBACK)
        address = sock.getsockname()
        handled, seen = [], []

        def handle(client, peer):
            handled.append(client)

        clients = [connected(address) for _ in range(3 * ACCEPT_BATCH)]
        acceptor = Acceptor(admission, admission.connection_limit(0, 0), sock, handle)

        async def other(task):
            acceptor.start()
            while len(handled) < len(clients):
                seen.append(len(handled))
                await engine.give_way()

        await Job(engine, other).outcome()
        assert all(after - before <= ACCEPT_BATCH for before, after in pairwise([*seen, len(handled)]))
        admission.close()
        for each in (*handled, *clients):
            each.close()


async def test_at_the_limit_clients_wait_in_the_backlog_and_are_served_when_one_leaves():
    async with running() as engine:
        admission = gate_for(engine, 2)
        echo, other = Echo(engine, admission), Echo(engine, admission)
        first, second = connected(echo.address), connected(other.address)
        assert await echoes(first)
        assert await echoes(second)
        third, fourth = connected(echo.address), connected(other.address)
        assert await waits(third)
        assert await waits(fourth)
        assert admission.connections.held == 2
        second.close()
        await settle()
        assert admission.connections.held == 2
        first.close()
        await settle()
        assert third.recv(4) == fourth.recv(4) == b"ping"
        assert admission.refused["descriptors"] == 0
        for client in (third, fourth):
            client.close()
        await settle()
        admission.close()


async def test_a_handshake_is_cut_for_each_client_that_waits_and_for_nobody_else(clock):
    async with running() as engine:
        admission = gate_for(engine, max_handshakes=3)
        sock = open_listener(LOOPBACK)
        address = sock.getsockname()
        room = admission.connection_limit(0, 0)
        begun, ended = [], []

        def handle(client, peer):
            transport = PlainTransport(engine, client, Source.CLIENT, None)
            admission.handshakes.begin(transport)
            transport.task = engine.spawn(shake(transport, peer))
            begun.append(peer)

        async def shake(transport, peer):
            try:
                await parked()
            finally:
                ended.append(peer)
                admission.handshakes.end(transport)
                transport.close()
                room.leave()
                admission.connections.leave()

        acceptor = Acceptor(admission, room, sock, handle, (admission.handshakes,))
        acceptor.start()
        clients = [connected(address) for _ in range(3)]
        await passes(clock, 2 * HANDSHAKE_TURN)
        assert ended == []
        clients += [connected(address) for _ in range(2)]
        await passes(clock, SWEEP_INTERVAL)
        assert [begun.index(peer) for peer in ended] == [0, 1]
        assert len(begun) == 5
        admission.close()
    for client in clients:
        client.close()


async def test_a_waiting_client_is_served_when_another_is_ended_from_outside():
    async with running() as engine:
        admission = gate_for(engine, 1)
        echo = Echo(engine, admission)
        first, second = connected(echo.address), connected(echo.address)
        assert await echoes(first)
        assert await waits(second)
        (session,) = engine.tasks - {echo.acceptor.task}
        engine.throw(session, Closed())
        await settle()
        assert first.recv(1) == b""
        assert second.recv(4) == b"ping"
        first.close()
        second.close()
        await settle()
        admission.close()


async def test_leaving_from_outside_the_engine_makes_room_too():
    async with running() as engine:
        admission = gate_for(engine, 1)
        echo = Echo(engine, admission)
        admission.connections.enter()  # somebody who is no coroutine of the engine
        client = connected(echo.address)
        assert await waits(client)
        admission.connections.leave()
        await settle()
        assert client.recv(4) == b"ping"
        client.close()
        await settle()
        assert admission.connections.held == 0
        admission.close()


@contextmanager
def descriptors_left(count):
    """At most ``count`` more descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1 + count, hard))
        while True:
            try:
                used.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for _ in range(count):
            os.close(used.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in used:
            os.close(number)


async def test_without_descriptors_clients_are_closed_and_accepting_resumes():
    async with running() as engine:
        admission = gate_for(engine, 100)
        echo = Echo(engine, admission)
        clients = [socket.socket() for _ in range(7)]
        for client in clients:
            client.setblocking(False)
        with descriptors_left(2):
            for client in clients[:5]:
                client.connect_ex(echo.address)
            await settle()
            for client in clients[:2]:
                assert await echoes(client)
            for client in clients[2:5]:
                assert client.recv(1) == b""  # closed, not left hanging
            assert admission.refused["descriptors"] == 3
            assert admission.connections.held == 2
            clients[0].shutdown(socket.SHUT_RDWR)
            await settle()
            clients[5].connect_ex(echo.address)
            assert await echoes(clients[5])
        clients[6].connect_ex(echo.address)
        assert await echoes(clients[6])
        assert admission.refused["descriptors"] == 3
        assert engine.crashes == 0
        for client in clients:
            client.close()
        await settle()
        admission.close()


async def test_when_even_the_reserve_does_not_help_nothing_spins_and_nothing_is_lost(clock):
    """Someone else took the descriptor that was given up, or the limit was lowered below what is open."""
    async with running() as engine:
        admission = gate_for(engine, 100)
        echo = Echo(engine, admission)
        client, refused = socket.socket(), socket.socket()
        for sock in (client, refused):
            sock.setblocking(False)
        await settle()
        asleep = trio.lowlevel.current_statistics().io_statistics.tasks_waiting_read
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            client.connect_ex(echo.address)
            client.send(b"ping")
            for _ in range(100):
                await trio.lowlevel.checkpoint()
            assert trio.lowlevel.current_statistics().io_statistics.tasks_waiting_read == asleep
            with pytest.raises(BlockingIOError):
                client.recv(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await passes(clock, 0.2)
        assert client.recv(4) == b"ping"
        assert engine.crashes == 0
        assert echo.handled == 1
        with descriptors_left(0):
            refused.connect_ex(echo.address)
            await settle()
        assert refused.recv(1) == b""  # there is a reserve again
        assert admission.refused["descriptors"] == 1
        for sock in (client, refused):
            sock.close()
        await settle()
        admission.close()


async def test_a_client_that_cannot_be_taken_in_costs_neither_listener_nor_room(caplog):
    """As when the kernel has no room for another epoll entry."""
    async with running() as engine:
        admission = gate_for(engine, 2)
        sock = open_listener(LOOPBACK)
        address = sock.getsockname()
        taken = []

        def handle(client, peer):
            if not taken:
                taken.append(None)
                raise OSError("no room")
            taken.append(client)

        Acceptor(admission, admission.connection_limit(0, 0), sock, handle).start()
        first = connected(address)
        await settle()
        assert first.recv(1) == b""
        assert admission.connections.held == 0
        second = connected(address)
        await settle()
        assert len(taken) == 2
        assert engine.crashes == len(caplog.records) == 1
        for each in (first, second, taken[1]):
            each.close()
        admission.close()


async def test_a_client_that_resets_before_it_is_accepted_disturbs_nobody():
    async with running() as engine:
        admission = gate_for(engine, 1)
        echo = Echo(engine, admission)
        first = connected(echo.address)
        assert await echoes(first)
        hasty, patient = connected(echo.address), connected(echo.address)
        hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        hasty.close()
        first.close()
        assert await echoes(patient)
        patient.close()
        await settle()
        assert admission.connections.held == 0
        admission.close()


async def test_a_closed_acceptor_closes_its_socket_and_only_that():
    async with running() as engine:
        admission = gate_for(engine, 10)
        echo, other = Echo(engine, admission), Echo(engine, admission)
        client = connected(echo.address)
        assert await echoes(client)
        engine.throw(echo.acceptor.task, Closed())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(echo.address)
        assert await echoes(client)
        late = connected(other.address)
        assert await echoes(late)
        assert admission.acceptors == [other.acceptor]
        for each in (client, late):
            each.close()
        await settle()
        admission.close()


def test_a_listener_is_non_blocking_and_has_its_address_for_itself():
    """A second daemon started by mistake would take half of the connections, and know nothing of the first one's."""
    with open_listener(LOOPBACK) as first:
        with pytest.raises(OSError, match="Address already in use"):
            open_listener(Address("127.0.0.1", first.getsockname()[1]))
        with pytest.raises(BlockingIOError):
            first.accept()


def test_an_ipv6_listener_leaves_ipv4_alone():
    six = open_listener(Address("::1", 0))
    port = six.getsockname()[1]
    four = open_listener(Address("127.0.0.1", port))
    assert six.family == socket.AF_INET6
    six.close()
    four.close()


def test_an_address_that_cannot_be_bound_is_an_error_and_leaves_nothing_open():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        open_listener(Address("127.0.0.1", taken.getsockname()[1]))


class Faulty(socket.socket):
    """A listening socket whose next calls of ``accept`` fail with these errors."""

    errors = ()

    def accept(self):
        if self.errors:
            number, *self.errors = self.errors
            raise OSError(number, os.strerror(number))
        return super().accept()


def faulty(echo, *errors):
    """Have the listener of ``echo`` fail in this way."""
    acceptor = echo.acceptor
    acceptor.sock = Faulty(fileno=acceptor.sock.detach())
    acceptor.sock.errors = errors


@pytest.mark.parametrize(
    "number",
    [errno.ENOSR, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENETUNREACH],
)
async def test_errors_of_one_client_are_skipped(number, caplog):
    async with running() as engine:
        echo = Echo(engine, gate_for(engine))
        faulty(echo, number)
        with connected(echo.address) as client:
            await settle()
            assert await echoes(client)
        assert not caplog.records
        echo.acceptor.stop()
        await settle()
        assert not echo.room.held


async def test_an_unknown_error_does_not_end_accepting(clock, caplog):
    """It is logged once, and accepting goes on with the next check of the deadlines."""
    async with running() as engine:
        echo = Echo(engine, gate_for(engine))
        faulty(echo, errno.EIO, errno.EIO, errno.EINVAL)
        with connected(echo.address) as client:
            for _ in range(3):
                await settle()
                assert not echo.handled
                await passes(clock, SWEEP_INTERVAL)
            assert await echoes(client)
            assert [name for record in caplog.records for name in ("EIO", "EINVAL") if name in record.getMessage()] == [
                "EIO",
                "EINVAL",
            ]
        echo.acceptor.stop()
        await settle()
        assert not echo.room.held
        assert not engine.crashes


@pytest.mark.pure
async def test_a_fault_of_ours_does_not_end_accepting(clock, monkeypatch, caplog):
    async with running() as engine:
        echo = Echo(engine, gate_for(engine))
        with monkeypatch.context() as patch:
            patch.setattr(Acceptor, "_reached", lambda _: 1 // 0)
            with connected(echo.address) as client:
                await settle()
                patch.undo()
                await passes(clock, SWEEP_INTERVAL)
                assert await echoes(client)
        assert engine.crashes == 1
        assert "accepting failed" in caplog.text
        echo.acceptor.stop()
        await settle()
