"""The users of a chaos run: tabs that count their messages and come back when they are cut off, and plain requests.

What must hold of a tab: every message is answered once and in order, every push comes in order, and a tunnel ends only
if its host was lost, or the user's other tabs are elsewhere. What must hold of a user: all open tabs are on one host.
What must hold of a request that may be sent twice: it gets its own answer.
"""

import base64
import os
import socket
import time
from collections import defaultdict

import trio
from chaos_world import World

MOVING = 0.5
"""Seconds that old tabs of a user may outlive the opening of a tab elsewhere: their goodbye is on its way."""
KEPT = 0.5
"""Seconds after which a client no longer trusts a kept connection: the daemon closes it after 3 s."""
PATIENCE = 15.0
"""Seconds after which an answer is taken for lost."""
ENDED = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Gone(Exception):
    """The connection has ended; the text says how."""


class Tab:
    """One tab of a user: always connected, if it can be, ``secure`` by TLS. ``users`` holds the open tabs of all."""

    def __init__(
        self, world: World, user: str, users: defaultdict[str, set["Tab"]], every: float, *, secure: bool
    ) -> None:
        self.world = world
        self.user = user
        self.secure = secure
        self.place = ""
        self.opened = 0.0
        self._users = users
        self._every = every
        self._ending = False
        self._port = 0
        self._stream: trio.SocketStream | None = None

    async def run(self) -> None:
        """Connect, talk, and connect again, until ``finish``."""
        world, ledger = self.world, self.world.ledger
        ended = time.monotonic()
        while not self._ending:
            try:
                self._stream, self._port = await _connect(world, world.secure if self.secure else world.port)
                async with _secured(world, self._stream) if self.secure else self._stream as stream:
                    await self._visit(stream, ended)
            except Gone as gone:
                ledger.counts[f"tunnel ended: {gone}"] += 1
            except ENDED as error:
                ledger.counts[f"no tunnel: {type(error).__name__}"] += 1
            ended = time.monotonic()
            await trio.sleep(world.random.uniform(0.02, 0.3))

    def finish(self) -> None:
        """Say nothing more; ``run`` ends once everything said has been answered."""
        self._ending = True

    def vanish(self) -> None:
        """Leave without a word, as a laptop that is closed; ``run`` comes back."""
        if self._stream is not None:
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self._stream.socket.close()

    async def _visit(self, stream: trio.abc.Stream, since: float) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            *(f"GET /ws?token=secret-{self.user} HTTP/1.1", "Host: ide.example", "Connection: Upgrade"),
            *("Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""),
        ]
        await stream.send_all("\r\n".join(head).encode())
        reader = _Reader(stream)
        status = (await reader.head()).split(b" ")[1]
        if status != b"101":
            raise Gone(f"{status.decode()} instead of a tunnel")
        word, self.place, pid = (await reader.message()).split()
        assert word == "h"
        self.opened = time.monotonic()
        self.world.ledger.back.append(self.opened - since)
        self._users[self.user].add(self)
        try:
            await self._talk(stream, reader, int(pid))
        finally:
            self._users[self.user].discard(self)

    async def _talk(self, stream: trio.abc.Stream, reader: "_Reader", pid: int) -> None:
        ledger = self.world.ledger
        sent = answered = pushed = 0
        due = self.opened + self.world.random.random() * self._every
        try:
            while not (self._ending and answered == sent):
                now = time.monotonic()
                if now >= due and not self._ending:
                    sent += 1
                    await stream.send_all(_masked(f"c {sent}"))
                    due = now + self._every
                    ledger.counts["messages sent"] += 1
                ending = self._ending
                wait = PATIENCE if ending else due - now
                with trio.move_on_after(wait) as waiting:
                    word, number = (await reader.message()).split()
                    if (word, number) == ("e", str(answered + 1)):
                        answered += 1
                        ledger.counts["messages answered"] += 1
                    elif (word, number) == ("p", str(pushed + 1)):
                        pushed += 1
                        ledger.counts["messages pushed"] += 1
                    else:
                        ledger.violated(f"{self.user} on {self.place}: {word} {number} after {answered} and {pushed}")
                        raise Gone("out of order")
                if ending and waiting.cancelled_caught:
                    raise Gone("silence")
        except (Gone, *ENDED) as error:
            how = str(error) if isinstance(error, Gone) else type(error).__name__
            if self._stream is not None and self._stream.socket.fileno() < 0:
                raise Gone("vanished") from None
            if how == "close code 1012" and await self._moved():
                raise Gone("moved along with another tab") from None
            if self._port in self.world.cut:
                raise Gone("killed with its worker") from None
            if not self.world.host(self.place).lost(pid):
                missing = f"{sent - answered} answers missing"
                ledger.violated(f"{self.user}: cut off from {self.place}, which lives: {how}; {missing}")
            raise Gone(how) from None

    async def _moved(self) -> bool:
        """Is another tab of the user elsewhere, as far as its hello has been read?"""
        with trio.move_on_after(MOVING):
            while all(tab.place == self.place for tab in self._users[self.user]):
                await trio.sleep(0.02)
            return True
        return False


async def _connect(world: World, port: int) -> tuple[trio.SocketStream, int]:
    """A connection, and its port on our side."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    ours = stream.socket.getsockname()[1]
    world.cut.discard(ours)
    return stream, ours


def _secured(world: World, stream: trio.SocketStream) -> trio.SSLStream:
    return trio.SSLStream(stream, world.trust, server_hostname="ide.example", https_compatible=True)


def _masked(words: str) -> bytes:
    mask = os.urandom(4)
    payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(words.encode()))
    return bytes([0x81, 0x80 | len(payload)]) + mask + payload


class _Reader:
    """Heads and short frames of a stream; what is cancelled loses nothing."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._held = b""

    async def head(self) -> bytes:
        while b"\r\n\r\n" not in self._held:
            await self._more()
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        return head

    async def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            await self._more()
        data, self._held = self._held[:size], self._held[size:]
        return data

    async def message(self) -> str:
        while len(self._held) < 2 or len(self._held) < 2 + self._held[1]:
            await self._more()
        end = 2 + self._held[1]
        first, payload, self._held = self._held[0], self._held[2:end], self._held[end:]
        if first == 0x88:
            raise Gone(f"close code {int.from_bytes(payload[:2])}")
        assert first == 0x81, f"no frame of ours: {first:#x}"
        return payload.decode()

    async def _more(self) -> None:
        data = await self._stream.receive_some(65536)
        if not data:
            raise Gone("end of stream")
        self._held += data


async def watch(world: World, users: defaultdict[str, set[Tab]]) -> None:
    """Look at every user again and again: are all their tabs on one host?"""
    while True:
        now = time.monotonic()
        for user, tabs in users.items() if now > world.disturbed else ():
            settled = [tab for tab in tabs if now > tab.opened + MOVING]
            places = {tab.place for tab in settled}
            if (
                now > world.disturbed
                and len(places) > 1
                and (newest := max(tab.opened for tab in settled)) < now - MOVING
            ):
                world.ledger.violated(f"{user} is on {' and '.join(sorted(places))} for {now - newest:.1f} s")
        world.ledger.counts["looks at all users"] += 1
        await trio.sleep(0.05)


async def ask(world: World, name: str, pause: float, stop: trio.Event) -> None:
    """Requests of one user on kept connections: GET and PUT have to succeed, a POST may meet the end of its host."""
    ledger, number = world.ledger, 0
    while not stop.is_set():
        try:
            stream, port = await _connect(world, world.port)
        except OSError as error:
            ledger.violated(f"{name}: {type(error).__name__} on connecting")
            await trio.sleep(pause)
            continue
        async with stream:
            reader, used = _Reader(stream), False
            while not stop.is_set():
                number += 1
                method = world.random.choice(["GET", "GET", "PUT", "POST"])
                try:
                    with trio.fail_after(PATIENCE):
                        status, kept = await _exchange(stream, reader, method, f"/r/{name}/{number}", name)
                except (Gone, trio.TooSlowError, *ENDED) as error:
                    status, kept = f"{type(error).__name__} {error}", False
                    if port in world.cut:
                        ledger.counts[f"{method} killed with its worker"] += 1
                        break
                    if used and method != "POST":
                        status += " on a kept connection"
                ledger.counts[f"{method} {status}"] += 1
                if status != "200" and method != "POST":
                    ledger.violated(f"{method} /r/{name}/{number}: {status}")
                used = True
                answered = time.monotonic()
                await trio.sleep(world.random.uniform(0, 2 * pause))
                if not kept or time.monotonic() > answered + KEPT:
                    break


async def _exchange(stream: trio.SocketStream, reader: _Reader, method: str, path: str, user: str) -> tuple[str, bool]:
    body = b"" if method == "GET" else b"body"
    head = f"{method} {path}?token=secret-{user} HTTP/1.1\r\nHost: ide.example\r\nContent-Length: {len(body)}\r\n\r\n"
    await stream.send_all(head.encode() + body)
    start, *lines = (await reader.head()).decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    answer = await reader.exactly(int(fields["content-length"]))
    status = start.split(" ")[1]
    if status == "200" and answer.decode() != f"{method} {path}":
        raise Gone(f"the answer to something else: {answer!r}")
    return status, fields.get("connection") != "close"
