"""A probe's connection to a backend: everything it reads is bounded, every failure is a few words of ours.

What the other side sends never gets into those words: a backend may have been taken over, and logs are read in
terminals.

There may be hundreds of probes a second, so it waits only for what is not there yet; the sockets of trio take a turn of
its scheduler with every call.
"""

import contextlib
import errno
import os
import socket
import ssl
import struct

import trio

from balancer.config.scalars import Address

MAX_ANSWER = 65536
"""Bytes of an answer; a longer one fails."""
_SIP = 2048
"""Bytes read at a time: what can be packed into them is parsed before anyone else has a turn."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets, as haproxy's checks do, or hundreds of probes a second would fill the table of sockets
with TIME_WAIT."""
_OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class ProbeFailed(Exception):
    """The backend did not pass; the text says why."""


class NoSocket(Exception):
    """This machine has no socket or port to probe with, which says nothing about any backend."""


class ProbeConnection:
    """An open connection; its opener closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls: trio.SSLStream[trio.SocketStream] | None = None
        self._left = MAX_ANSWER

    @classmethod
    async def open(cls, address: Address) -> "ProbeConnection":
        """Connect. Raises ``ProbeFailed`` or ``NoSocket``."""
        family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            raise NoSocket from None
        try:
            error = sock.connect_ex(address.path or (address.host, address.port))
            if error == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, "")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError as fault:
            sock.close()
            if fault.errno in _OWN_FAULTS:
                raise NoSocket from None
            raise ProbeFailed(_words(fault)) from None
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def handshake(self, context: ssl.SSLContext, name: str) -> None:
        """Complete a TLS handshake with ``name`` (none if empty); what follows goes over it. Raises ``ProbeFailed``."""
        plain = trio.SocketStream(trio.socket.from_stdlib_socket(self._sock))
        stream = trio.SSLStream(plain, context, server_hostname=name or None, https_compatible=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            raise ProbeFailed(_words(error.__cause__)) from None
        self._tls = stream

    async def send(self, data: bytes) -> None:
        """Raises ``ProbeFailed``."""
        try:
            if self._tls is not None:
                await self._tls.send_all(data)
                return
            while data:
                try:
                    data = data[self._sock.send(data) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._sock)
        except OSError as error:
            raise ProbeFailed(_words(error)) from None
        except trio.BrokenResourceError as error:
            raise ProbeFailed(_words(error.__cause__)) from None

    async def receive(self) -> bytes:
        """The next bytes; empty at the end. Raises ``ProbeFailed``, also when there have been too many."""
        if self._left <= 0:
            raise ProbeFailed("the answer is too long")
        try:
            data = await self._sip() if self._tls is None else bytes(await self._tls.receive_some(_SIP))
        except OSError as error:
            raise ProbeFailed(_words(error)) from None
        except trio.BrokenResourceError as error:
            raise ProbeFailed(_words(error.__cause__)) from None
        self._left -= len(data)
        return data

    async def _sip(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            with contextlib.suppress(BlockingIOError):
                return self._sock.recv(_SIP)

    def close(self) -> None:
        """At once."""
        self._sock.close()


def _words(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'failed').replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return "the connection broke"
