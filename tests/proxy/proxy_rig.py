"""The data plane of one worker in the test's own process: a real engine, real sockets, and a clock that stands still.

Clients and backends are Unix sockets: the kernel hands over their bytes within the call that sends them, so after
``settle`` everything that can happen has happened, however slow the machine is. Their clients seem to come from an IP
address. A Unix socket has no reset of its own: closing one with unread bytes resets its peer.
"""

import socket
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.config.scalars import Address
from balancer.config.settings import (
    BackendSettings,
    KeySettings,
    LimitSettings,
    ListenerSettings,
    PoolSettings,
    TimeoutSettings,
    TokenSettings,
)
from balancer.net.engine import Engine
from balancer.net.listen import Acceptor
from balancer.pool.digest import Digest
from balancer.pool.placement import Placement
from balancer.pool.pool import Pool
from balancer.proxy import replies
from balancer.proxy.accesslog import AccessLog
from balancer.proxy.listener_state import ListenerState, prepare_contexts
from balancer.proxy.request_ids import RequestIds
from balancer.proxy.serve import handler
from balancer.proxy.worker_state import WorkerState
from balancer.ring.base import Ring
from balancer.ring.hashes import MD5
from balancer.shared.counters import Kind, SharedCounters, size

CLIENT = "192.0.2.7"
"""The address that clients seem to come from."""
REQUEST_ID = b"0000000000000000"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
"""The Date of the balancer's own answers."""
HELD = (Kind.CONNECTIONS, Kind.HANDSHAKES, Kind.LISTENER, Kind.ACTIVE, Kind.USERS, Kind.QUEUED)
"""Shared counters that are zero when nothing is open."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SameId(RequestIds):
    """Gives every request the same id."""

    def next(self):
        return REQUEST_ID


class InOrder(Ring):
    """A ring on which every token belongs to the first backend, and then to the next."""

    def position(self, token):
        return 0

    def point(self, token):
        return 0

    def owner(self, token):
        return self.members[0]

    def order(self, token):
        return iter(self.members)

    def point_counts(self):
        return {}

    def succession(self):
        return {}


def a_board():
    """Shared counters of the only worker."""
    return SharedCounters(memoryview(bytearray(size(1))), 0)


class Records(AccessLog):
    """An access log in a list: event, status, how it ended, who ended it, backend and number of tries."""

    def __init__(self):
        super().__init__("off")
        self.enabled = True
        self.lines = []

    def write(self, event, record, **_):
        self.lines.append((event, record.status, record.ended, str(record.by), record.backend, record.tries))


class Peer:
    """The far end of a connection. It reads all it is sent, unless it has ``stalled``."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock = sock
        self.got = b""
        self.end = ""
        """``eof`` or ``reset``, once the balancer has ended its side."""
        self.stalled = False

    def send(self, data):
        """Send what the kernel takes; return how many bytes that were. What a closed connection is sent is lost."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except ConnectionError:
            return len(data)

    def finish(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.end = self.end or "closed"
        self.sock.close()

    def read(self, most=1 << 20):
        """Read up to ``most`` bytes; return whether there was anything new."""
        if self.end:
            return False
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            self.end = "reset"
            return True
        self.got += data
        if not data:
            self.end = "eof"
        return True

    def take(self):
        """What has been read since the last time."""
        got, self.got = self.got, b""
        return got


class Host:
    """A backend: a listening socket, and its connections in the order in which they came."""

    def __init__(self, path):
        self.address = Address(path=str(path))
        self.connections = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._sock.bind(str(path))
        self._sock.listen(100)

    def accept(self):
        """Accept those that wait; return whether there were any."""
        before = len(self.connections)
        with suppress(BlockingIOError):
            while self._sock.fileno() >= 0:
                self.connections.append(Peer(self._sock.accept()[0]))
        return len(self.connections) > before

    @property
    def last(self):
        return self.connections[-1]

    def refuse(self):
        """Accept nobody from now on."""
        self._sock.close()

    def close(self):
        self.refuse()
        for peer in self.connections:
            peer.close()


class _Door(socket.socket):
    def accept(self):
        return super().accept()[0], (CLIENT, 4711)


class Heart:
    """A worker with one listener and one pool; ``a``, ``b``, ... are the names of its backends."""

    def __init__(self, folder, clock, engine, names, listener, pool, limits, timeouts, log):
        self.clock, self.engine = clock, engine
        self.crashes = 0
        """Tasks that have to crash; None: any number may."""
        self.lenient = False
        """A script may speak for a connection that has not come about."""
        self.log = log or Records()
        self.board = a_board()
        self.worker = WorkerState(engine, self.log, self.board)
        limits = LimitSettings(**{"max_connections_per_client": 1000, **limits})
        self.worker.configure(limits, TimeoutSettings(**timeouts), KeySettings(b"secret"))
        self.worker.request_ids = SameId()
        self.hosts = {name: Host(folder / name) for name in names}
        self.clients = []
        settings = {"token": TokenSettings(missing="client_ip"), "backend": tuple(map(BackendSettings, names)), **pool}
        self.pool = Pool(PoolSettings("ide", **settings), self.placement(names))
        self.pool.share(self.board)
        self.worker.pools = {"ide": self.pool}
        limit = self.worker.admission.connection_limit(0, 0)
        config = ListenerSettings("web", "ide", **listener)
        self.listener = ListenerState(config, self.worker.pools, limit, prepare_contexts(config))
        self._path = str(folder / "door")
        door = _Door(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        door.bind(self._path)
        door.listen(100)
        self.acceptor = Acceptor(self.worker.admission, limit, door, handler(self.worker, self.listener))
        self.listener.acceptors["door"] = [self.acceptor]
        self.acceptor.start()

    def placement(self, names, **given):
        """A placement of every token on the first of ``names``."""
        weights = dict.fromkeys(names, 1.0)
        return Placement(
            ring=InOrder(members=tuple(names), weights=weights, fingerprint="f", hash=MD5),
            addresses={name: self.hosts[name].address for name in names},
            digest=Digest(b"key"),
            weights=weights,
            slots={name: number for number, name in enumerate(sorted(self.hosts))},
            **given,
        )

    def backend(self, name):
        return self.pool.backends[name]

    async def client(self, data=b""):
        """A client that has connected and sent ``data``."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self._path)
        peer = Peer(sock)
        self.clients.append(peer)
        if data:
            peer.send(data)
        await self.settle()
        return peer

    async def settle(self):
        """Let everything happen that can, without the clock; peers read."""
        busy = True
        while busy:
            await wait_all_tasks_blocked()
            peers = [*self.clients, *(peer for host in self.hosts.values() for peer in host.connections)]
            busy = any([host.accept() for host in self.hosts.values()])
            busy = any([peer.read() for peer in peers if not peer.stalled]) or busy

    async def send(self, peer, data):
        """Have a peer send ``data``, whole."""
        data = memoryview(data)
        while data:
            done = peer.send(data)
            data = data[done:]
            await self.settle()
            assert done or not data, "the balancer does not read it"

    async def passes(self, seconds):
        """Let ``seconds`` pass."""
        self.clock.jump(seconds)
        await self.settle()

    async def close(self):
        """End all that is open, from both sides."""
        for peer in self.clients:
            peer.close()
        await self.settle()
        for host in self.hosts.values():
            host.close()
        await self.settle()
        await self.passes(self.pool.settings.linger + 10_000)
        self.worker.tidy()

    def assert_nothing_left(self):
        """No connection is open, and nothing counts as if one were."""
        worker = self.worker
        assert not worker.connections
        assert not worker.tunnel_registry.tunnels
        assert not worker.admission.connections.held
        assert not worker.admission.handshakes.held
        assert not self.listener.connection_limit.held
        for backend in self.pool.backends.values():
            assert (backend.active, backend.tunnels) == (0, 0), backend.name
            assert backend.load is None or not backend.load.waiting
        counted = {kind: sum(self.board.cell(kind, index).total() for index in range(8)) for kind in HELD}
        assert counted == dict.fromkeys(HELD, 0)
        assert not len(self.pool.leases)
        assert not +self.pool.leases.users
        assert not any(self.board.sketch._mine), "a client is still counted"
        assert not any(worker.idle.values())
        acceptors = {acceptor for each in self.listener.acceptors.values() for acceptor in each}
        assert self.engine.tasks == {acceptor.task for acceptor in acceptors}
        assert set(self.engine._watches.values()) == {self.engine._bell, *acceptors}, "a descriptor was left open"


@asynccontextmanager
async def heart(
    folder,
    clock,
    *,
    names="ab",
    listener=(),
    pool=(),
    limits=(),
    timeouts=(),
    engine=None,
    log=None,
):
    """A running worker, to be used under ``clock``; ``names`` are those of its backends.

    Nothing may be left of its connections when the block ends.
    """
    engine = engine or Engine()
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        rig = Heart(folder, clock, engine, names, dict(listener), dict(pool), dict(limits), dict(timeouts), log)
        try:
            with patch.object(replies, "_date", lambda _: DATE):
                yield rig
                await rig.close()
            rig.assert_nothing_left()
            assert rig.crashes is None or engine.crashes == rig.crashes
        finally:
            for peer in [*rig.clients, *rig.hosts.values()]:
                peer.close()
            rig.worker.release()
            nursery.cancel_scope.cancel()


def run(work, **settings):
    """Run ``work(rig)`` with a rig, outside of trio; return what it returns."""
    clock = MockClock()

    async def main():
        with tempfile.TemporaryDirectory(prefix="h") as folder:
            async with heart(Path(folder), clock, **settings) as rig:
                return await work(rig)

    return trio.run(main, clock=clock)
