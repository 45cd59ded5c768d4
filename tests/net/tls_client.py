"""The client's side of TLS: Python's own, and records of our own making where Python has no words for them."""

import hmac
import ssl
import struct
from contextlib import suppress

import trio
import trio.testing
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class TlsClient:
    """Python's TLS on a non-blocking socket. Bytes of ``send`` leave in pieces of ``piece``; None is as they come."""

    def __init__(self, sock, context, name="ide.example", session=None, piece=None):
        self.sock = sock
        self.piece = piece
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)

    async def handshake(self):
        await self._until_done(self.tls.do_handshake)
        await self._flush()

    async def send(self, data):
        self.tls.write(data)
        await self._flush()

    async def recv(self):
        """Up to one record; ``b""`` after close_notify. An end without it raises ``ssl.SSLEOFError``."""
        with suppress(ssl.SSLZeroReturnError):
            return await self._until_done(lambda: self.tls.read(65536))
        return b""

    async def rest(self):
        """Everything up to close_notify."""
        data = bytearray()
        while piece := await self.recv():
            data += piece
        return bytes(data)

    async def send_eof(self):
        """close_notify; reading goes on, and the TCP connection stays as it is."""
        with suppress(ssl.SSLError):  # the peer's close_notify has not come yet
            self.tls.unwrap()
        await self._flush()

    async def _until_done(self, operation):
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                await self._flush()
                await trio.lowlevel.wait_readable(self.sock)
                try:
                    data = self.sock.recv(65536)
                except BlockingIOError:
                    continue
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    async def _flush(self):
        data = self.outgoing.read()
        piece = self.piece or len(data)
        while data:
            try:
                data = data[self.sock.send(data[:piece]) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)
            else:
                if data and self.piece:
                    await trio.testing.wait_all_tasks_blocked()


class Records:
    """TLS 1.3 records of a client (RFC 8446, 5.2), from its traffic secret: what comes after its handshake.

    Python's ssl can neither send a KeyUpdate nor more than a well-behaved client would. AES-256-GCM and SHA-384 only.
    """

    def __init__(self, secret):
        self._secret = secret
        self._rekey()

    def data(self, payload):
        return self._record(23, payload)

    def key_update(self, requested=False):
        """A KeyUpdate (RFC 8446, 4.6.3), protected with the old key; what follows has the new one."""
        record = self._record(22, bytes([24, 0, 0, 1, requested]))
        self._secret = self._expand(b"traffic upd", 48)
        self._rekey()
        return record

    def _rekey(self):
        self._key = AESGCM(self._expand(b"key", 32))
        self._nonce = int.from_bytes(self._expand(b"iv", 12))
        self._number = 0

    def _record(self, kind, payload):
        header = struct.pack("!BHH", 23, 0x0303, len(payload) + 17)
        nonce = (self._nonce ^ self._number).to_bytes(12)
        self._number += 1
        return header + self._key.encrypt(nonce, payload + bytes([kind]), header)

    def _expand(self, label, length):
        """HKDF-Expand-Label with an empty context (RFC 8446, 7.1), one block long at most."""
        full = b"tls13 " + label
        info = struct.pack("!HB", length, len(full)) + full + b"\0"
        return hmac.digest(self._secret, info + b"\x01", "sha384")[:length]


def client_secret(keylog):
    """The client's first traffic secret in a key log of one connection."""
    for line in keylog.read_text().splitlines():
        label, *_, secret = line.split()
        if label == "CLIENT_TRAFFIC_SECRET_0":
            return bytes.fromhex(secret)
    raise LookupError("no CLIENT_TRAFFIC_SECRET_0 in the key log")
