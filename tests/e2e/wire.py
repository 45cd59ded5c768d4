"""Both ends of the wire in bytes: clients and backends as blocking sockets that a test speaks through, line by line."""

import contextlib
import ctypes
import random
import signal
import socket
import ssl
import time
from pathlib import Path

PATIENCE = 30.0
"""Seconds any wait of a test may take before it fails."""
CRLF = b"\r\n"
_LIBC = ctypes.CDLL(None)


def end_with_parent():
    """For ``preexec_fn``: a child that is not left over when the tests are killed (PR_SET_PDEATHSIG of prctl(2))."""
    _LIBC.prctl(1, signal.SIGKILL)


class Message:
    """A request or response as it arrived: first line, fields in order, body, trailers."""

    def __init__(self, head):
        self.raw = head
        self.start, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.body = b""
        self.trailers = b""

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    @property
    def target(self):
        return self.start.split(" ")[1]

    def all(self, name):
        return [value for each, value in self.fields if each == name]

    def __getitem__(self, name):
        """The only value of the field; None if it is absent."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None


class Peer:
    """One end of a connection. Waits at most ``PATIENCE`` for anything."""

    def __init__(self, sock):
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.held = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def secure(self, context):
        """The server's side of a TLS handshake."""
        assert not self.held
        self.sock = context.wrap_socket(self.sock, server_side=True, suppress_ragged_eofs=False)

    def send(self, data):
        self.sock.sendall(data)

    def takes(self, data):
        """Does the other side take all of it, or does it stop reading, or leave?"""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def more(self):
        """The next bytes, or nothing at the end of the stream."""
        if self.held:
            data, self.held = self.held, b""
            return data
        return self.sock.recv(65536)

    def until(self, mark):
        """Bytes up to and including ``mark``."""
        while mark not in self.held:
            data = self.sock.recv(65536)
            assert data, f"the stream ended after {self.held[-200:]!r}"
            self.held += data
        found, _, self.held = self.held.partition(mark)
        return found + mark

    def exactly(self, size):
        parts = [self.held[:size]]
        self.held = self.held[size:]
        size -= len(parts[0])
        while size:
            data = self.sock.recv(min(size, 1 << 20))
            assert data, f"the stream ended {size} bytes early"
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def rest(self):
        """Everything up to the end of the stream."""
        return b"".join(iter(self.more, b""))

    def ended(self):
        """Has the other side closed, in order or with a reset, with nothing more to say?"""
        try:
            return not self.more()
        except (ConnectionError, ssl.SSLEOFError):
            return True

    def head(self):
        return Message(self.until(CRLF + CRLF))

    def request(self, on_expect=None):
        """A request with its body; ``on_expect`` is called if the client waits to be asked for it."""
        message = self.head()
        if on_expect is not None and message["expect"] == "100-continue":
            on_expect()
        self._body(message, 0)
        return message

    def response(self, method="GET"):
        """A response with its body."""
        message = self.head()
        if method != "HEAD" and message.status >= 200 and message.status not in (204, 304):
            self._body(message, None)
        return message

    def _body(self, message, length):
        if message["transfer-encoding"] == "chunked":
            while size := int(self.until(CRLF), 16):
                message.body += self.exactly(size)
                assert self.exactly(2) == CRLF
            while (line := self.until(CRLF)) != CRLF:
                message.trailers += line
        elif message["content-length"] is not None:
            message.body = self.exactly(int(message["content-length"]))
        elif length is None:
            message.body = self.rest()

    def ask(self, data, method="GET"):
        """Send a request and read the response."""
        self.send(data)
        return self.response(method)

    def end(self):
        """Half-close: nothing more follows from here."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self):
        self.sock.close()


class Backend:
    """A backend the test plays itself: what the balancer connects to, and each connection as a ``Peer``.

    With the server context ``tls``, connections are over TLS from their first byte.
    """

    def __init__(self, tls=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.peers = []
        self._tls = tls

    def __str__(self):
        return "{}:{}".format(*self.listener.getsockname())

    def accept(self):
        peer = Peer(self.listener.accept()[0])
        # What it says out of turn leaves at once, and not with the next request's acknowledgement.
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peers.append(peer)
        if self._tls is not None:
            peer.secure(self._tls)
        return peer

    def peer(self):
        """The connection that is open, or the next one."""
        return next((peer for peer in self.peers if peer.sock.fileno() >= 0), None) or self.accept()

    def untouched(self):
        """Did nobody connect?"""
        self.listener.settimeout(0)
        try:
            self.accept()
        except BlockingIOError:
            return True
        finally:
            self.listener.settimeout(PATIENCE)
        return False

    def forget(self):
        """Close every connection, those nobody accepted included."""
        while not self.untouched():
            pass
        while self.peers:
            self.peers.pop().close()

    def close(self):
        self.forget()
        self.listener.close()


def reached(backends):
    """The one backend somebody connects to, and that connection: whoever it is."""
    while True:
        for number, each in enumerate(backends):
            if not each.untouched():
                return number, each.peers[-1]


def free_port():
    """A port of 127.0.0.1 that nobody has, and none of those that the system gives to clients: it stays free."""
    clients_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(clients_from // 2, clients_from)
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def nobody():
    """An address where connecting is refused, for as long as the context lasts; afterwards somebody may have it."""
    with socket.socket() as bound:  # bound, so that nobody else gets it, and not listening
        bound.bind(("127.0.0.1", free_port()))
        yield "{}:{}".format(*bound.getsockname())


def get(target="/?token=secret-1", *lines, version="1.1", method="GET", body=b""):
    """A request; ``lines`` are its further fields."""
    head = [f"{method} {target} HTTP/{version}", "Host: ide.example", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


def answer(body=b"", *lines, status="200 OK"):
    """A response with a Content-Length."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body


def chunked(*pieces, trailers=b""):
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n" + trailers + CRLF


def eventually(look):
    """What ``look`` sees as soon as it is true, asking again and again."""
    deadline = time.monotonic() + 2 * PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, "it never came"
    return seen
