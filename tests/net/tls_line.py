"""A TLS transport in an engine, with a client at its other end."""

import socket
import ssl

import pytest
from net_rig import Job, tcp_pair
from tls_client import TlsClient

from balancer.errors import Source
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])


def unix_pair():
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


class Line:
    """A TLS transport in an engine, with the client at its other end."""

    def __init__(self, engine, context, client_context, sockets=tcp_pair, **client_options):
        ours, theirs = sockets()
        self.engine = engine
        self.context = context
        self.plain = PlainTransport(engine, ours, Source.CLIENT, None)
        self.client = TlsClient(theirs, client_context, **client_options)
        self.tls = None

    def accept(self, early=b"", expires=None):
        async def work(task):
            self.tls = TlsTransport(self.plain, self.context, early)
            self.tls.task = task
            if expires is not None:
                task.expires = expires
            try:
                await self.tls.handshake()
            except BaseException:
                self.tls.close()
                raise

        return Job(self.engine, work)

    async def establish(self):
        job = self.accept()
        await self.client.handshake()
        await job.outcome()
        return self

    def ours(self, work):
        """``work(transport)`` in the engine."""

        async def run(task):
            self.tls.task = task
            return await work(self.tls)

        return Job(self.engine, run)

    def everything(self):
        async def work(tls):
            data = bytearray()
            while piece := await tls.recv():
                data += piece
            return bytes(data)

        return self.ours(work)

    def close(self):
        self.tls.close()
        self.client.sock.close()
