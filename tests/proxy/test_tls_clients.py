"""Clients over TLS: the handshake in pieces, its deadline, and an end at every wait of it."""

import ssl

import pytest
from certificates import certificate
from playbook import byte_by_byte, whole
from playbooks import ASKED, GET, OK
from proxy_rig import run
from test_interrupted import each_error, expect, interruptions

from balancer.config.settings import TlsSettings

TLS = {"listener": {"tls": TlsSettings((certificate("a.example"), certificate("b.example")))}}
SECURED = ASKED.replace(b"Proto: http", b"Proto: https")


class Client:
    """A client that speaks TLS; what it sends is ``split``."""

    def __init__(self, rig, peer, split=whole):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.got = b""
        self.shaken = False
        self._rig, self._peer, self._split = rig, peer, split
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="b.example")

    async def handshake(self):
        """Shake hands, as far as the balancer does."""
        while not self.shaken and not self._peer.end:
            try:
                self._tls.do_handshake()
                self.shaken = True
            except ssl.SSLWantReadError:
                pass
            await self._pump()

    async def send(self, data):
        self._tls.write(data)
        await self._pump()

    async def _pump(self):
        for piece in self._split(self._outgoing.read()):
            await self._rig.send(self._peer, piece)
        self._incoming.write(self._peer.take())

    def read(self):
        self._incoming.write(self._peer.take())
        try:
            while data := self._tls.read(65536):
                self.got += data
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return self.got

    @property
    def certificate(self):
        return self._tls.getpeercert(binary_form=True)


@pytest.mark.parametrize("split", [whole, byte_by_byte])
def test_a_request(split):
    async def work(rig):
        client = Client(rig, await rig.client(), split)
        await client.handshake()
        assert rig.worker.admission.handshakes.held == 0
        pem = TLS["listener"]["tls"].certificates[1].cert.decode()
        assert ssl.DER_cert_to_PEM_cert(client.certificate) == pem, "the one for the name it asked for"
        await client.send(GET)
        assert rig.hosts["a"].last.got == SECURED
        await rig.send(rig.hosts["a"].last, OK)
        assert client.read() == OK

    run(work, **TLS)


def test_the_handshake_has_a_deadline():
    async def work(rig):
        client = await rig.client(b"\x16\x03\x01")
        for _ in range(3):
            await rig.passes(4)
            client.send(b"\0")  # more bytes buy no time
            await rig.settle()
        assert client.end
        assert rig.listener.handshake_failures == 1
        assert rig.log.lines == [("handshake", 0, "the handshake took too long", "client", "", 0)]

    run(work, **TLS, timeouts={"handshake": 10.0})


def test_what_is_no_handshake():
    async def work(rig):
        client = await rig.client(b"\x16\x03\x01\0\x05hello")
        assert client.end == "eof"
        assert client.got[:1] == b"\x15", "an alert"
        assert rig.log.lines[0][2].startswith("TLS failed: ")

    run(work, **TLS)


@each_error
def test_an_end_at_every_wait(error):
    async def work(rig):
        expect(rig, error)
        client = Client(rig, await rig.client())
        await client.handshake()
        if client.shaken:
            await client.send(GET)
        for host in rig.hosts["a"].connections:
            await rig.send(host, OK)

    for engine in interruptions(error):
        run(work, engine=engine, **TLS)
