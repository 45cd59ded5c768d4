"""What it is all for: users with real WebSockets over TLS, each on one host, every message as it was sent."""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict

import pytest
from harness import listener, pool
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

SIZES = [0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20]
HOSTS = 4
USERS = 200


def messages(seed):
    """Text and binary of every size; the same for the same seed."""
    source = random.Random(seed)
    for size in SIZES:
        yield source.randbytes(size)
        yield ("aé€😀" * (size // 10 + 1)).encode()[: size - size % 10].decode()


async def exchange(socket, ours, theirs):
    """Send one series and expect the other at the same time."""

    async def send():
        for message in messages(ours):
            await socket.send(message)

    sending = asyncio.create_task(send())
    for message in messages(theirs):
        assert await socket.recv() == message
    await sending


class Hosts:
    """IDE hosts in this process's loop; ``seen`` are the close codes they were told."""

    def __init__(self):
        self.seen = {}
        self._open = 0
        self._change = asyncio.Condition()

    async def settled(self):
        """Every tab has been closed, for the hosts too."""
        async with self._change:
            await self._change.wait_for(lambda: not self._open)

    def handler(self, name):
        async def handle(socket):
            self._open += 1
            path = socket.request.path.partition("?")[0]
            if path == "/exchange":
                await exchange(socket, "from the host", "from the user")
            elif path.startswith("/close/"):
                await socket.close(int(path.removeprefix("/close/")), "the host's reason")
            else:
                await socket.send(name)
            await socket.wait_closed()
            self.seen[path] = (socket.close_code, socket.close_reason)
            self._open -= 1
            async with self._change:
                self._change.notify_all()

        return handle


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def ide(loop):
    """The hosts and their addresses."""
    hosts = Hosts()
    options = {"max_size": None, "compression": None, "ping_interval": None}

    async def open_all():
        return [await serve(hosts.handler(f"host-{n}"), "127.0.0.1", 0, **options) for n in range(HOSTS)]

    servers = loop.run(open_all())
    yield hosts, [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]

    async def close_all():
        for server in servers:
            server.close()
            await server.wait_closed()

    loop.run(close_all())


@pytest.fixture(scope="module")
def daemon(start, ide, authority):
    tls = {"certificates": [authority.issue("ide.example")]}
    return start(listeners=[listener(tls=tls)], pool=[pool(*ide[1])])


@pytest.fixture
def tab(daemon, authority, loop, ide):
    """Opens a tab of a user."""
    context = authority.client()

    def tab(user, path="/"):
        url = f"wss://ide.example:{daemon.ports['web'][0]}{path}?token=secret-{user}"
        options = {"max_size": None, "compression": None, "ping_interval": None}
        return connect(url, host="127.0.0.1", ssl=context, server_hostname="ide.example", proxy=None, **options)

    yield tab
    loop.run(ide[0].settled())


def test_every_user_has_one_host_and_every_host_its_share(loop, tab):
    async def run():
        places = defaultdict(set)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):  # all of them stay open
                for user in range(USERS):
                    socket = await stack.enter_async_context(tab(user))
                    places[user].add(await socket.recv())
        return places

    places = loop.run(run())
    assert {len(each) for each in places.values()} == {1}
    shares = Counter(host for each in places.values() for host in each)
    assert len(shares) == HOSTS
    # 160 points a host: a share strays by 1/sqrt(160), the users on it by sqrt(50 * 3/4); four times both together.
    assert all(abs(share - 50) < 4 * (50**2 / 160 + 50 * 0.75) ** 0.5 for share in shares.values()), shares


def test_messages_of_every_size_both_ways_at_once(loop, tab, daemon):
    async def run():
        async with tab("anna", "/exchange") as socket:
            await exchange(socket, "from the user", "from the host")

    with daemon.bounded():
        loop.run(run())


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
def test_close_codes(loop, tab, ide, code):
    async def run():
        async with tab("bert", f"/close/{code}") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "the host's reason")
        async with tab("bert", f"/closed/{code}") as socket:
            await socket.recv()
            await socket.close(code, "the user's reason")

    loop.run(run())
    loop.run(ide[0].settled())
    assert ide[0].seen[f"/closed/{code}"] == (code, "the user's reason")


def test_the_tunnels_are_logged(loop, tab, daemon):
    async def run():
        async with tab("carl", "/logged") as socket:
            return await socket.recv()

    host = loop.run(run())
    opened, closed = (daemon.logged(path="/logged", event=event) for event in ("open", "close"))
    assert opened["backend"] == closed["backend"] == host
    assert opened["token"] == closed["token"]
    assert (closed["status"], closed["ended"]) == (101, "closed")
