"""One demo IDE host: a page, a WebSocket for its terminal, and a health check.

``python -m balancer.demo.host NAME ADDRESS DIRECTORY`` serves on ADDRESS (such as 127.0.0.1:4001) until it is killed,
and keeps its users' files in DIRECTORY.

========  ==============================================================================================
/         the page
/ws       WebSocket: a text line in, a JSON object out; binary messages are echoed
/whoami   JSON: this host, the user the token belongs to (never the token), the user's open tabs here
/health   200 while the host runs
========  ==============================================================================================
"""

import argparse
import contextlib
import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import h11
import trio
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from balancer.config.scalars import parse_address
from balancer.demo.home import Home
from balancer.demo.page import load_page
from balancer.demo.shell import Shell
from balancer.demo.users import User
from balancer.demo.websocket import WebSocket

IDLE_TIMEOUT = 75.0
"""Seconds for the next request on a connection, including its body."""
LINGER_TIMEOUT = 1.0
"""Seconds for a client to close its side after the last answer."""
MAX_TABS = 32
"""Open tabs of one user."""

_ALWAYS = [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff")]


@dataclass(frozen=True)
class Reply:
    """An HTTP response with its whole body."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    fields: tuple[tuple[str, str], ...] = ()


_BAD_REQUEST = b"malformed request\n"
_NO_TOKEN = Reply(400, b"no token in the URL: use one of the URLs that `balancer demo` printed\n")
_NOT_FOUND = Reply(404, b"no such page\n")
_OTHER_ORIGIN = Reply(403, b"only this host's own page may connect\n")
_TOO_MANY_TABS = Reply(429, b"this user has too many open tabs\n")
_BAD_METHOD = Reply(405, b"GET and HEAD only\n", fields=(("allow", "GET, HEAD"),))
_UPGRADE = Reply(426, b"WebSockets only\n", fields=(("upgrade", "websocket"), ("sec-websocket-version", "13")))


class Tab:
    """One open page of a user."""

    def __init__(self, number: int, socket: WebSocket) -> None:
        self.number = number
        self.opened = time.time()
        self.socket = socket

    def show(self, kind: str, **content: object) -> None:
        self.socket.send(json.dumps({"type": kind, **content}, ensure_ascii=False))


class Host:
    """An IDE host: its name, its users' files and their open tabs."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory
        self._page = load_page()
        self._started = time.monotonic()
        self._tabs: dict[str, list[Tab]] = {}

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection. An error ends this connection only, and is logged to standard error."""
        try:
            async with stream:
                await self._serve(stream)
                await _linger(stream)
        except Exception as error:  # the message may quote the client, so log only the type
            print(f"{self.name}: connection failed: {type(error).__name__}", file=sys.stderr, flush=True)

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        with trio.move_on_after(IDLE_TIMEOUT) as scope, contextlib.suppress(trio.BrokenResourceError):
            try:
                while isinstance(request := await _next_event(stream, connection), h11.Request):
                    path, _, query = request.target.partition(b"?")
                    token = parse_qs(query.decode("latin-1"), encoding="latin-1").get("token", [""])[0]
                    if path == b"/ws" and token and request.method == b"GET":
                        scope.deadline = float("inf")
                        return await self._serve_tab(stream, connection, request, User.of(token))
                    await _send(stream, connection, self._answer(request.method, path, token), request.method)
                    while type(await _next_event(stream, connection)) is h11.Data:
                        pass
                    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                        return
                    connection.start_next_cycle()
                    scope.deadline = trio.current_time() + IDLE_TIMEOUT
            except h11.RemoteProtocolError as error:
                if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await _send(stream, connection, Reply(error.error_status_hint, _BAD_REQUEST), b"GET")

    def _answer(self, method: bytes, path: bytes, token: str) -> Reply:
        if method not in {b"GET", b"HEAD"}:
            return _BAD_METHOD
        if path == b"/health":
            return Reply(200, b"ok\n")
        if path not in {b"/", b"/ws", b"/whoami"}:
            return _NOT_FOUND
        if not token:
            return _NO_TOKEN
        if path == b"/":
            policy = ("content-security-policy", self._page.policy)
            return Reply(200, self._page.body, "text/html; charset=utf-8", (policy,))
        if path == b"/ws":
            return _UPGRADE
        user = User.of(token)
        tabs = len(self._tabs.get(user.digest, []))
        found = {"host": self.name, "user": user.name, "digest": user.digest[:8], "tabs": tabs}
        return Reply(200, json.dumps(found).encode() + b"\n", "application/json")

    async def _serve_tab(
        self, stream: trio.SocketStream, connection: h11.Connection, request: h11.Request, user: User
    ) -> None:
        fields = dict(request.headers)
        if (origin := fields.get(b"origin")) and origin.partition(b"://")[2] != fields.get(b"host"):
            return await _send(stream, connection, _OTHER_ORIGIN, b"GET")
        if len(self._tabs.get(user.digest, [])) >= MAX_TABS:
            return await _send(stream, connection, _TOO_MANY_TABS, b"GET")
        try:
            socket = WebSocket(stream, list(request.headers), request.target)
        except (RemoteProtocolError, UnicodeError):
            return await _send(stream, connection, _UPGRADE, b"GET")
        home = Home(self._directory / user.digest)
        tabs = self._tabs.setdefault(user.digest, [])
        tab = Tab(max((other.number for other in tabs), default=0) + 1, socket)
        tabs.append(tab)
        tab.show("hello", host=self.name, hue=_hue(self.name), user=user.name, digest=user.digest[:8], tab=tab.number)
        self._update(tabs, home)
        try:
            await socket.run(connection.trailing_data[0], partial(self._receive, tab, Shell(self.name, user, home)))
        finally:
            tabs.remove(tab)
            self._update(tabs, home)
            if not tabs:
                del self._tabs[user.digest]

    def _receive(self, tab: Tab, shell: Shell, message: str | bytes) -> None:
        if isinstance(message, bytes):
            return tab.socket.send(message)
        tabs = self._tabs[shell.user.digest]
        if message.split() == ["reconnect"]:
            for each in tabs:
                each.socket.close(CloseReason.SERVICE_RESTART)
            return
        files = shell.home.names()
        tab.show("answer", text=shell.answer(message, time.monotonic() - self._started))
        if shell.home.names() != files:
            self._update(tabs, shell.home)

    def _update(self, tabs: list[Tab], home: Home) -> None:
        """Show the user's open tabs and files in all tabs."""
        opened = [{"tab": tab.number, "opened": tab.opened} for tab in tabs]
        files = home.names()
        for tab in tabs:
            tab.show("home", tabs=opened, files=files)


def _hue(name: str) -> int:
    """A colour for a host, in degrees: the golden angle keeps consecutive names far apart."""
    return sum(name.encode()) * 137 % 360


async def _next_event(stream: trio.SocketStream, connection: h11.Connection) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(64 * 1024))
    return event


async def _linger(stream: trio.SocketStream) -> None:
    """Wait until the client closes: closing with unread bytes would reset the connection, and lose our answer."""
    with trio.move_on_after(LINGER_TIMEOUT), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_eof()
        async for _ in stream:
            pass


async def _send(stream: trio.SocketStream, connection: h11.Connection, reply: Reply, method: bytes) -> None:
    headers = [("content-type", reply.kind), ("content-length", str(len(reply.body))), *_ALWAYS, *reply.fields]
    data = connection.send(h11.Response(status_code=reply.status, headers=headers)) or b""
    if method != b"HEAD":
        data += connection.send(h11.Data(reply.body)) or b""
    await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))


async def _run(host: Host, address: str, port: int) -> None:
    listeners = await trio.open_tcp_listeners(port, host=address)
    await trio.serve_listeners(host.serve, listeners)


def main() -> int:
    """Serve until killed. Return 1, with a message on standard error, if the host cannot start."""
    parser = argparse.ArgumentParser(prog="python -m balancer.demo.host", description="Run one demo IDE host.")
    parser.add_argument("name", help="name of the host, such as ide-01")
    parser.add_argument("address", help="address to listen on, such as 127.0.0.1:4001")
    parser.add_argument("directory", type=Path, help="directory for the users' files")
    options = parser.parse_args()
    try:
        address = parse_address(options.address)
        options.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        trio.run(_run, Host(options.name, options.directory), address.host, address.port)
    except (OSError, ValueError) as error:
        print(f"{options.name}: cannot serve on {options.address}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
