"""A host that is probed: it answers as a test says, and tells when somebody came."""

from contextlib import asynccontextmanager, suppress

import trio

from balancer.config.scalars import Address


class Host:
    """``talk`` is what it does with a connection; it may be changed at any time."""

    def __init__(self, talk):
        self.talk = talk
        self.address = None
        self.visits = 0
        self.open = 0
        self.requests = []
        self._news = trio.Event()

    async def serve(self, stream):
        self.visits += 1
        self.open += 1
        self._news.set()
        self._news = trio.Event()
        try:
            async with stream:
                with suppress(trio.BrokenResourceError):
                    await self.talk(self, stream)
        finally:
            self.open -= 1

    async def visited(self, visits):
        """Wait until there have been so many visits."""
        while self.visits < visits:
            await self._news.wait()


@asynccontextmanager
async def hosting(talk, path=None):
    """A host on a port of its own, or at a Unix socket."""
    host = Host(talk)
    async with trio.open_nursery() as nursery:
        if path is None:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            host.address = Address("127.0.0.1", listener.socket.getsockname()[1])
        else:
            sock = trio.socket.socket(trio.socket.AF_UNIX)
            await sock.bind(str(path))
            sock.listen()
            listener, host.address = trio.SocketListener(sock), Address(path=str(path))
        await nursery.start(trio.serve_listeners, host.serve, [listener])
        yield host
        nursery.cancel_scope.cancel()


def says(answer):
    """Read a request, answer with these bytes, and hang up."""

    async def talk(host, stream):
        request = b""
        while b"\r\n\r\n" not in request and (data := await stream.receive_some()):
            request += data
        host.requests.append(request)
        await stream.send_all(answer)

    return talk


def status(code, *fields, body=b""):
    """Answer with this status."""
    lines = [f"HTTP/1.1 {code} Whatever", f"Content-Length: {len(body)}", *fields]
    return says("\r\n".join([*lines, "", ""]).encode() + body)


def repeats(start, part):
    """Answer with ``start`` and then with ``part`` for ever."""

    async def talk(host, stream):
        await stream.receive_some()
        await stream.send_all(start)
        while True:
            await stream.send_all(part)

    return talk


async def silent(host, stream):
    """Listen until the other side has gone."""
    async for _ in stream:
        pass


async def slow(host, stream):
    """Answer a byte a second."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100:
        await stream.send_all(bytes([byte]))
        await trio.sleep(1)
