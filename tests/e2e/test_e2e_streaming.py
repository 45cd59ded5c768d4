"""Large bodies pass through, byte for byte, at the pace of the slower side and in little memory."""

import contextlib
import os
import threading

import pytest
from harness import listener, pool
from wire import PATIENCE, answer, get

BLOCK = os.urandom(1 << 20)
MANY = 256
"""Blocks of a body that no buffer holds."""


@pytest.fixture(scope="module")
def daemon(start, home, authority):
    tls = {"certificates": [authority.issue("ide.example")]}
    return start(listeners=[listener(), listener("safe", tls=tls)], pool=[pool(home)])


def connect(daemon, authority, name):
    return daemon.connect(name, authority.client() if name == "safe" else None, "ide.example")


class Sender(threading.Thread):
    """Sends a body of so many blocks from a thread of its own."""

    def __init__(self, peer, blocks, frame):
        super().__init__()
        self._peer, self._blocks, self._frame = peer, blocks, frame
        self.error = None

    def run(self):
        try:
            piece = memoryview(self._frame(BLOCK))
            for _ in range(self._blocks):
                self._peer.send(piece)
        except OSError as error:
            self.error = error

    def __exit__(self, *_):
        self.join(PATIENCE)
        assert not self.is_alive()
        assert self.error is None

    def __enter__(self):
        self.start()
        return self


def plain(data):
    return data


def in_chunks(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def receive(peer, blocks):
    """Read blocks of a body without framing and compare each."""
    block = memoryview(bytearray(len(BLOCK)))
    for _ in range(blocks):
        block[: len(peer.held)] = peer.held
        filled, peer.held = len(peer.held), b""
        while filled < len(BLOCK):
            got = peer.sock.recv_into(block[filled:])
            assert got, "the body ended early"
            filled += got
        assert block == BLOCK


def receive_chunks(peer, blocks):
    """The same for a chunked body, whatever the sizes of the chunks."""
    position = 0
    while size := int(peer.until(b"\r\n"), 16):
        piece = peer.exactly(size + 2)
        while size:
            start = position % len(BLOCK)
            part = min(size, len(BLOCK) - start)
            assert piece[:part] == BLOCK[start : start + part]
            piece, size, position = piece[part:], size - part, position + part
    assert position == blocks * len(BLOCK)


@pytest.mark.parametrize(("name", "blocks"), [("web", MANY), ("safe", MANY // 2)])
def test_download(daemon, backend, authority, name, blocks):
    with connect(daemon, authority, name) as client, daemon.bounded():
        client.send(get())
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks * len(BLOCK)))
        with Sender(peer, blocks, plain):
            client.head()
            receive(client, blocks)


@pytest.mark.parametrize(("name", "blocks"), [("web", MANY), ("safe", MANY // 2)])
def test_upload(daemon, backend, authority, name, blocks):
    with connect(daemon, authority, name) as client, daemon.bounded():
        client.send(get("/?token=secret-1", f"Content-Length: {blocks * len(BLOCK)}", method="POST"))
        peer = backend.accept()
        peer.head()
        with Sender(client, blocks, plain):
            receive(peer, blocks)


def test_who_moved_much_keeps_little(daemon, backend, authority):
    """The buffers of TLS stay as large as they once were: with no care taken, a connection would keep half a MiB."""
    with contextlib.ExitStack() as stack:

        def move_much():
            client = stack.enter_context(connect(daemon, authority, "safe"))
            with Sender(client, 1, lambda body: get("/?token=secret-1", f"Content-Length: {len(body)}", body=body)):
                peer = backend.peer()
                peer.head()
                receive(peer, 1)
            with Sender(peer, 1, lambda body: answer(body)):
                client.head()
                receive(client, 1)

        for _ in range(5):  # what is made once, and kept for all
            move_much()
        with daemon.bounded(36 << 20):
            for _ in range(100):
                move_much()


@pytest.mark.parametrize("name", ["web", "safe"])
def test_chunked_both_ways_at_once(daemon, backend, authority, name):
    blocks = 64
    with connect(daemon, authority, name) as client, daemon.bounded():
        client.send(get("/?token=secret-1", "Transfer-Encoding: chunked", method="POST"))
        peer = backend.accept()
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.head()

        def serve():
            with Sender(peer, blocks, in_chunks):
                receive_chunks(peer, blocks)
            peer.send(b"0\r\n\r\n")

        server = threading.Thread(target=serve)
        server.start()
        with Sender(client, blocks, in_chunks) as sender:
            sender.join(PATIENCE)
            client.send(b"0\r\n\r\n")
            receive_chunks(client, blocks)
        server.join(PATIENCE)
        assert not server.is_alive()


def test_the_others_are_served_meanwhile(daemon, backend):
    """Bulk moves in turns: a small request does not wait for the end of a large one."""
    with daemon.connect() as bulk, daemon.connect() as small:
        bulk.send(get())
        source = backend.accept()
        source.request()
        source.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * len(BLOCK)))
        with Sender(source, 256, plain):
            bulk.head()
            reader = threading.Thread(target=receive, args=[bulk, 256])
            reader.start()
            for _ in range(20):
                small.send(get())
                peer = next((each for each in backend.peers if each is not source), None) or backend.accept()
                peer.request()
                peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                assert small.response().status == 204
            assert reader.is_alive()
            reader.join(PATIENCE)
