"""What the tests of balancer.net share: a running engine, coroutines whose end can be awaited, pairs of sockets.

Engine and test live in one thread, and a loopback socket hands over its bytes at once: after ``settle`` everything
that can happen has happened, so no test waits for time to pass.
"""

import socket
import time
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked as settle

from balancer.config.model import LimitsConfig
from balancer.errors import Source
from balancer.net.admission import Admission
from balancer.net.engine import Engine
from balancer.net.park import PARK
from balancer.net.transport import PlainTransport
from balancer.shared.counters import SharedCounters, size

__all__ = [
    "Job",
    "connected",
    "drain",
    "fill",
    "flood",
    "gate_for",
    "pair",
    "parked",
    "passes",
    "running",
    "settle",
    "tcp_pair",
]


@asynccontextmanager
async def running():
    """An engine that serves until the block ends."""
    engine = Engine()
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        yield engine
        nursery.cancel_scope.cancel()


class Job:
    """``work(task)`` as a coroutine of the engine; ``outcome`` is what it returned, or raises what it raised."""

    def __init__(self, engine, work):
        self.ended = trio.Event()
        self.result = self.error = None
        self.task = engine.spawn(self._run(engine, work))

    async def _run(self, engine, work):
        try:
            self.result = await work(engine.current)
        except Exception as error:
            self.error = error
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()

    async def outcome(self):
        await self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.result


def gate_for(engine, connections=100, shared_counters=None, clock=time.monotonic, used=lambda: 0, **limits):
    """A gate; without a board, of the only worker."""
    return Admission(
        engine, LimitsConfig(max_connections=connections, **limits), shared_counters or a_board(), clock, used
    )


def a_board(rows=1):
    """The board of a first worker."""
    return SharedCounters(memoryview(bytearray(size(rows))), 0)


async def parked():
    """Sleep whatever wakes us."""
    while True:
        await PARK


async def passes(clock, seconds):
    """Let ``seconds`` pass on a clock that stands still otherwise, and everything happen that they bring about."""
    await settle()
    clock.jump(seconds)
    await settle()


def pair(engine, task=None, source=Source.CLIENT):
    """A transport and the non-blocking socket at its other end."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.setblocking(False)
    return PlainTransport(engine, ours, source, task), peer


def tcp_pair():
    """Two connected TCP sockets, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for sock in (client, server):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server, client


def connected(address):
    """A non-blocking client socket, connected."""
    client = socket.create_connection(address)
    client.setblocking(False)
    return client


def fill(sock):
    """Write until the kernel takes no more: how many bytes it took."""
    return flood(sock, bytes(65536))


def flood(sock, data):
    """Write ``data`` over and over until the kernel takes no more: how many bytes it took."""
    done = 0
    try:
        while True:
            done += sock.send(data)
    except BlockingIOError:
        return done


def drain(sock):
    """Whatever the kernel holds for ``sock``."""
    data = []
    try:
        while piece := sock.recv(1 << 20):
            data.append(piece)
    except BlockingIOError:
        pass
    return b"".join(data)
