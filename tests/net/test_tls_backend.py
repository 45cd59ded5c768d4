"""TLS towards backends: what a server may say on an idle connection, and what it may not."""

import ssl

import pytest
import trio
from net_rig import Job, running, settle, tcp_pair

from balancer.errors import Source
from balancer.net.dial import IdleConnections
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport


class Server:
    """The server's side in memory: what it has to say leaves when the test wants it."""

    def __init__(self, sock, context):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def handshake(self):
        """Complete it; tickets are left in ``outgoing``."""
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.sock.send(self.outgoing.read())
            await trio.lowlevel.wait_readable(self.sock)
            self.incoming.write(self.sock.recv(65536))

    def say(self, data=b""):
        """Send what is left to be said, and ``data`` over TLS."""
        if data:
            self.tls.write(data)
        self.sock.send(self.outgoing.read())


class Line:
    """A transport to a server, idle."""

    def __init__(self, transport, server, idle, job):
        self.transport = transport
        self.server = server
        self.idle = idle
        self.job = job

    async def take(self):
        """The idle connection, if it is still good."""
        await settle()
        return self.idle.take(self.job, 0.0)


@pytest.fixture
def line(context, client_context):
    async def make(engine, version=None):
        ours, theirs = tcp_pair()
        made = []

        async def work(task):
            plain = PlainTransport(engine, ours, Source.BACKEND, task)
            made.append(TlsTransport(plain, client_context(version), server_name="ide.example"))
            await made[0].handshake()

        job, server = Job(engine, work), Server(theirs, context)
        await server.handshake()
        await job.outcome()
        line = Line(made[0], server, IdleConnections(), job.task)
        line.idle.put(line.transport, 1.0)
        return line

    return make


async def test_tickets_may_come_at_any_time(line):
    async with running() as engine:
        held = await line(engine, ssl.TLSVersion.TLSv1_3)
        assert not held.transport.session.has_ticket
        held.server.say()
        assert await held.take() is held.transport
        assert held.transport.session.has_ticket
        held.idle.put(held.transport, 2.0)
        assert await held.take() is held.transport
        held.transport.close()
        held.server.sock.close()


@pytest.mark.parametrize("said", ["out of turn", "goodbye", "no TLS", "nothing more"])
async def test_nothing_else_may(line, said):
    async with running() as engine:
        held = await line(engine)
        match said:
            case "out of turn":
                held.server.say(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            case "goodbye":
                with pytest.raises(ssl.SSLWantReadError):
                    held.server.tls.unwrap()
                held.server.say()
            case "no TLS":
                held.server.sock.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            case "nothing more":
                held.server.sock.shutdown(1)
        assert await held.take() is None
        assert held.transport.fd < 0
        held.server.sock.close()
