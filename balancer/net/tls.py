"""TLS on a transport: an ``SSLObject`` between two memory buffers, pumped by us.

Some facts, and what we chose:

- ``SSLObject`` never touches the socket: reads and writes of the socket stay ours, as on a plain transport, and bytes
  that came before the handshake (a PROXY header's tail) can be fed in.
- Asking OpenSSL for data that is not there costs an exception (``SSLWantReadError``); we look first whether any
  ciphertext or decrypted rest is waiting.
- A TLS 1.3 server's session tickets follow the handshake. Sent at once they cost a packet, and a client that closes
  without reading provokes a reset; we send them with the first data (openssl issue 7948, trio's ``_ssl.py``).
- ``close_notify`` says that the stream ended on purpose (RFC 8446, 6.1). We always send it. A peer that just closes its
  socket is what browsers do; an end of stream without ``close_notify`` is still reported as the end, because the
  framing of HTTP and WebSocket shows whether something is missing. We hide such an end from OpenSSL: it would take it
  for a fatal error and send nothing more, and the other direction may have much to send.
- Towards a backend we are the client. Its tickets come when it likes, so an idle connection may become readable without
  anything being wrong: ``quiet`` reads them. A handshake with one of them saves both sides the signatures.
- A memory buffer of OpenSSL grows by a third more than it is given, and keeps what it has until the connection ends:
  with 256 KiB at a time, a tunnel that had moved one large file held 532 KiB for the rest of its life. So it is given
  small pieces, and both buffers together keep some 110 KiB at most. Pieces are sent one by one: to join them first
  costs more than the calls it saves (a download took half as long again).
- ``SSL_shutdown`` sends our ``close_notify`` first and only then looks for the peer's. Finding nothing is an error
  for OpenSSL but not for us: reading goes on after it. Finding data breaks the connection, so we hide what has arrived.
"""

import socket
import ssl
from contextlib import suppress
from typing import Final

from balancer.errors import ProxyError, Retry, Source
from balancer.net.park import PARK
from balancer.net.subject import Name
from balancer.net.transport import PlainTransport, Transport

_RECORD: Final = 16384
"""Maximal bytes of plaintext in a record (RFC 8446, 5.1)."""
_PIECE: Final = 32768
"""Bytes given to a memory buffer of OpenSSL at once, at most."""
_GATHERED: Final = 65536
"""Decrypted bytes that are returned without looking for more."""
_FRUITLESS: Final = 6
"""Reads in a row that may bring no data while the socket is never dry; a record needs three at most."""


class TlsTransport(Transport):
    """TLS on the socket of ``plain``, which it takes over: as the server towards clients, as the client to backends."""

    __slots__ = ("_incoming", "_more", "_outgoing", "_raw", "_tls")

    def __init__(
        self,
        plain: PlainTransport,
        context: ssl.SSLContext,
        early: bytes = b"",
        *,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """``early`` are bytes of the handshake that have been read already.

        Towards a backend, ``server_name`` (or IP address) is what to ask for and to verify, and ``session`` is that of
        an earlier connection with the same context.
        """
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        ours = plain.source is Source.CLIENT
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=ours, server_hostname=server_name, session=session
        )
        super().__init__(plain.engine, plain.sock, plain.source, plain.task)
        plain.fd = -1  # only now, when nothing can fail any more: until here the socket is closed with ``plain``
        self.readable, self.writable = plain.readable, plain.writable
        self.hung_up, self.gone = plain.hung_up, plain.gone
        self._raw: bytes | memoryview = b""
        """Ciphertext that OpenSSL has not been given yet."""
        self._more = False
        """Ciphertext or decrypted bytes may be waiting inside."""
        if early:
            self._incoming.write(early)

    async def handshake(self) -> None:
        """Complete the handshake. Raise ``ProxyError`` if it fails; ``close`` then sends the alert."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._send_outgoing()
            except ssl.SSLError as error:
                raise self.lost(error) from None
            await self._fill()
        if self._tls.server_side and self.version == "TLSv1.3":
            pass  # only tickets are left to be sent
        else:  # the other side waits for our Finished
            await self._send_outgoing()
        self._more = True

    @property
    def version(self) -> str:
        """``TLSv1.2`` or ``TLSv1.3``."""
        return self._tls.version() or ""

    @property
    def server_name(self) -> str:
        """The name that the client asked for (SNI), as noted by ``contexts``; empty if there was none."""
        return getattr(self._tls, "requested_name", "")

    @property
    def subject(self) -> Name:
        """The subject of the peer's certificate, which has been verified; empty if there is none."""
        return (self._tls.getpeercert() or {}).get("subject", ())  # type: ignore[return-value]

    @property
    def certified(self) -> bool:
        """Whether the peer has shown a certificate; it has been verified where we ask for one."""
        return bool(self._tls.getpeercert(binary_form=True))

    @property
    def resumed(self) -> bool:
        """Whether a ticket has shortened the handshake."""
        return bool(self._tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session with which another connection to the same backend may be resumed; also valid after ``close``."""
        return self._tls.session

    def quiet(self) -> bool:
        try:
            return not self.pending() or self.receive() is None
        except ProxyError:
            return False

    def pending(self) -> bool:
        return self._more or self.readable

    def receive(self) -> bytes | None:
        for _ in range(_FRUITLESS):
            if not self._more:
                if not self.readable:
                    return None
                raw = self._read()
                if not raw:
                    return raw
                self._raw = raw if len(raw) <= _PIECE else memoryview(raw)  # its pieces cost no copy
            data = self._opened()
            if data is not None:
                return data
        # A key update costs us 500 times what it costs its sender, and a flood of them would keep us here for ever.
        raise self._fault("TLS failed: many records and no data")

    def _opened(self) -> bytes | None:
        """Return the data of some complete records; None if there is none."""
        tls, incoming = self._tls, self._incoming
        parts: list[bytes] = []
        gathered = 0
        self._more = True
        while True:
            if self._raw and incoming.pending <= _RECORD:
                incoming.write(self._raw[:_PIECE])
                self._raw = self._raw[_PIECE:]
            try:
                data = tls.read(_RECORD)
            except ssl.SSLWantReadError:
                if self._raw:
                    continue
                self._more = False
                self._answer()
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                if not parts:
                    raise self.lost(error) from None
                break  # what came before it is good; the next read meets it again
            if not data:  # close_notify; so will the next read be, if there is something to hand out first
                return b"".join(parts)
            self._more = bool(self._raw or incoming.pending or tls.pending())
            if not (self._more or parts):
                return data
            parts.append(data)
            gathered += len(data)
            if not self._more or gathered >= _GATHERED:
                break
        return b"".join(parts) or None

    def transmit(self, data: bytes) -> bool:
        view = memoryview(data) if len(data) > _PIECE else data
        for at in range(0, len(data), _PIECE):
            sealed = self._sealed(view[at : at + _PIECE])
            done = self._write(sealed)
            if done < len(sealed):
                rest = [self._sealed(view[more : more + _PIECE]) for more in range(at + _PIECE, len(data), _PIECE)]
                self.unsent = memoryview(b"".join((sealed[done:], *rest)))
                return False
        return True

    def _sealed(self, data: bytes | memoryview) -> bytes:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise self.lost(error) from None
        return self._outgoing.read()

    def send_eof(self) -> None:
        if self.finished:
            return
        self.finished = True
        arrived = self._incoming.read()
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._incoming.write(arrived)
        with suppress(ProxyError):  # the peer may be gone altogether: the next read says so
            if self._push(self._outgoing.read()):
                self._shut()

    def flush(self) -> bool:
        done = super().flush()
        if done and self.finished:
            self._shut()
        return done

    def close(self) -> None:
        if self.fd >= 0 and self.unsent is None:
            self.send_eof()
        super().close()

    def abort(self) -> None:
        self.finished = True  # no close_notify: the stream did not end on purpose
        super().abort()

    def lost(self, error: OSError) -> ProxyError:
        if isinstance(error, ssl.SSLError):
            reason = (error.reason or "protocol error").lower().replace("_", " ")
            if isinstance(error, ssl.SSLCertVerificationError):
                reason += f": {error.verify_message.rstrip('.')}"
            return self._fault(f"TLS failed: {reason}")
        return super().lost(error)

    def _fault(self, reason: str) -> ProxyError:
        return ProxyError(self.source, 400 if self.source is Source.CLIENT else 502, reason, Retry.UNANSWERED)

    def _answer(self) -> None:
        """Say what cannot wait for our next data, as tickets and key updates can: "no renegotiation" of TLS 1.2."""
        if self._outgoing.pending and self.version != "TLSv1.3" and not self.finished and self.unsent is None:
            self._push(self._outgoing.read())

    def _push(self, ciphertext: bytes) -> bool:
        done = self._write(ciphertext)
        if done < len(ciphertext):
            self.unsent = memoryview(ciphertext)[done:]
            return False
        return True

    def _shut(self) -> None:
        self.confirmed = -1  # the end has to be acknowledged as well
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    async def _send_outgoing(self) -> None:
        if self._outgoing.pending and not self._push(self._outgoing.read()):
            while not self.flush():
                await PARK

    async def _fill(self) -> None:
        while True:
            while not self.readable:
                await PARK
            raw = self._read()
            if raw is not None:
                break
        if not raw:
            raise self._fault(f"the {self.source} left during the TLS handshake")
        self._incoming.write(raw)
