"""An IDE host that counts: every message of a tunnel has a number, and what comes out of order is said.

On a WebSocket it says ``h NAME PID`` first, answers ``c N`` with ``e N`` (or ``x N``, if N was not the next), and
pushes ``p M`` of its own now and then. Any other request is answered with its method and path, or with N
bytes if its path is ``/big/N``. SIGUSR1 makes it slow,
SIGUSR2 quick again; slow answers keep their order. After SIGHUP it hangs up instead of answering, except to probes.
"""

import asyncio
import base64
import hashlib
import os
import signal
import sys
from collections import deque

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DELAY = 0.3
"""Seconds that a slow host takes for everything but its probes."""
PUSH_EVERY = 1.0


class Link(asyncio.Protocol):
    """A connection from the balancer."""

    name = ""
    delay = 0.0
    rude = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.held = b""
        self.tunnel = False
        self.last = self.pushed = 0
        self.due = 0.0
        self.waiting: deque[bytes] = deque()
        self.push_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, _: Exception | None) -> None:
        if self.push_timer is not None:
            self.push_timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.held += data
        while self._frame() if self.tunnel else self._request():
            pass

    def say(self, data: bytes) -> None:
        """Send, after what has been said before."""
        if not (Link.delay or self.waiting):
            self.transport.write(data)
            return
        loop = asyncio.get_running_loop()
        self.waiting.append(data)
        self.due = max(self.due, loop.time() + Link.delay)
        loop.call_at(self.due, self._say_next)

    def _say_next(self) -> None:
        """What waits longest: timers of one time come in any order."""
        self.transport.write(self.waiting.popleft())

    def _request(self) -> bool:
        end = self.held.find(b"\r\n\r\n")
        if end < 0:
            return False
        start, *lines = self.held[:end].split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        length = int(fields.get(b"content-length", b"0"))
        if len(self.held) < end + 4 + length:
            return False
        self.held = self.held[end + 4 + length :]
        method, target, _ = start.split(b" ")
        if b"sec-websocket-key" in fields:
            self._open(fields[b"sec-websocket-key"])
            return True
        path = target.partition(b"?")[0]
        body = bytes(int(path[5:])) if path.startswith(b"/big/") else method + b" " + path
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        if target == b"/health":
            self.transport.write(answer)
        elif Link.rude:
            self.transport.abort()
        else:
            self.say(answer)
        return True

    def _open(self, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept
        self.tunnel = True
        self.say(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n\r\n")
        self.say(_text(f"h {self.name} {os.getpid()}"))
        self._later()

    def _later(self) -> None:
        self.push_timer = asyncio.get_running_loop().call_later(PUSH_EVERY, self._push)

    def _push(self) -> None:
        self.pushed += 1
        self.say(_text(f"p {self.pushed}"))
        self._later()

    def _frame(self) -> bool:
        if len(self.held) < 6 or len(self.held) < 6 + (size := self.held[1] & 127):
            return False
        opcode, mask, payload = self.held[0] & 15, self.held[2:6], self.held[6 : 6 + size]
        self.held = self.held[6 + size :]
        if opcode == 8:  # the balancer, or the client, says goodbye
            self.transport.close()
            return False
        number = int(bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)).removeprefix(b"c "))
        self.say(_text(f"{'e' if number == self.last + 1 else 'x'} {number}"))
        self.last = number
        return True


def _text(words: str) -> bytes:
    return bytes([0x81, len(words)]) + words.encode()


async def serve(name: str, port: int) -> None:
    """Serve until killed; says on standard output when it can be reached."""
    Link.name = name
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, setattr, Link, "delay", DELAY)
    loop.add_signal_handler(signal.SIGUSR2, setattr, Link, "delay", 0.0)
    loop.add_signal_handler(signal.SIGHUP, setattr, Link, "rude", True)
    # Not left over when the tests are killed. PR_SET_PDEATHSIG would go by the thread that started us, which may end.
    loop.add_reader(sys.stdin.fileno(), os._exit, 1)
    server = await loop.create_server(Link, "127.0.0.1", port, backlog=4096, reuse_address=True)
    print("accepts", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
