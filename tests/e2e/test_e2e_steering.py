"""Operators steer a daemon with hundreds of open tunnels: what a plan says then happens, and nobody is cut off."""

import asyncio
import contextlib
import json
import sys
from collections import Counter

import pytest
from harness import Daemon, pool
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

HOSTS = 5
USERS = 250
TABS = 2
BALANCER = [sys.executable, "-m", "balancer"]


class Tab:
    """One WebSocket of a user: ``host`` is where it is, ``code`` how it was closed."""

    def __init__(self, user, socket, host):
        self.user = user
        self.socket = socket
        self.host = host
        self.code = None
        self._watch = asyncio.create_task(self._closing())

    async def _closing(self):
        await self.socket.wait_closed()
        self.code = self.socket.close_code

    async def answers(self):
        """Does an echo still come back from the same host?"""
        await self.socket.send("hello")
        return await self.socket.recv() == f"{self.host} hello"

    async def closed(self):
        async with asyncio.timeout(20):
            await self._watch


class Farm:
    """Hosts, daemon and users, in one loop."""

    def __init__(self, daemon, admin):
        self.daemon = daemon
        self.admin = str(admin)
        self.gate = asyncio.Semaphore(50)

    async def tab(self, user):
        async with self.gate:
            port = self.daemon.ports["web"][0]
            url = f"ws://127.0.0.1:{port}/?token=secret-{user}"
            socket = await connect(url, ping_interval=None, compression=None, close_timeout=1, proxy=None)
            return Tab(user, socket, await socket.recv())

    async def tabs(self, users):
        return await asyncio.gather(*map(self.tab, users))

    async def command(self, *words):
        """A verb of the real command: its output, which must be a success."""
        process = await asyncio.create_subprocess_exec(
            *BALANCER, *words, "--admin", self.admin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def plan(self, *words):
        return json.loads(await self.command("ring", "plan", *words, "--json"))


async def host(name, socket):
    await socket.send(name)
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            await socket.send(f"{name} {message}")


@contextlib.asynccontextmanager
async def farm(folder):
    async with contextlib.AsyncExitStack() as stack:
        addresses = []
        for number in range(HOSTS):
            name = f"host-{number}"
            server = await stack.enter_async_context(
                serve(
                    lambda socket, name=name: host(name, socket), "127.0.0.1", 0, compression=None, ping_interval=None
                )
            )
            addresses.append(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        daemon = Daemon(
            folder,
            pool=[pool(*addresses, linger="100ms")],
            admin={"socket": str(folder / "admin.sock")},
            state_dir=str(folder / "state"),
            log={"access": "off"},
        )
        await asyncio.to_thread(daemon.__enter__)
        try:
            yield Farm(daemon, folder / "admin.sock")
        finally:
            await asyncio.to_thread(daemon.__exit__, *sys.exc_info())


def moves(plan):
    """Users who will move, by (from, to)."""
    return {(each["from"], each["to"]): each["users"] for each in plan["users"]["moves"]}


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


def test_a_drain_cuts_nobody_off_before_its_time_and_moves_whom_it_said(loop, tmp_path):
    async def scenario():
        async with farm(tmp_path) as ide:
            users = [f"user-{number}" for number in range(USERS)]
            tabs = await ide.tabs(users * TABS)
            homes = {tab.user: tab.host for tab in tabs}
            assert all(homes[tab.user] == tab.host for tab in tabs)
            drained = "host-2"

            plan = await ide.plan("--drain", drained)
            assert plan["users"]["connected"] == USERS
            await ide.command("ring", "apply", plan["id"])

            newcomers = await ide.tabs(f"newcomer-{number}" for number in range(100))
            assert drained not in {tab.host for tab in newcomers}
            third = await ide.tabs(users)
            assert {tab.user: tab.host for tab in third} == homes
            assert all(await asyncio.gather(*(tab.answers() for tab in tabs + third)))
            assert not any(tab.code for tab in tabs + third), "cut off before the drain time"
            ide.daemon.configure(timeouts={"drain": "1s", "close_spread": "1s"})
            await ide.command("reload")
            assert not any(tab.code for tab in tabs + third), "the drain ends when it was said to"
            await ide.command("backend", "drain", drained, "--cut-after", "1s")

            leaving = [tab for tab in tabs + third if tab.host == drained]
            await asyncio.gather(*(tab.closed() for tab in leaving))
            assert {tab.code for tab in leaving} == {1012}
            staying = [tab for tab in tabs + third + newcomers if tab.host != drained]
            assert all(await asyncio.gather(*(tab.answers() for tab in staying)))

            back = await ide.tabs(user for user in users if homes[user] == drained)
            assert Counter((drained, tab.host) for tab in back) == moves(plan)
            await asyncio.gather(*(tab.socket.close() for tab in staying + back))

    loop.run(scenario())


def test_a_weight_moves_the_users_of_its_plan_when_the_operator_sends_them(loop, tmp_path):
    async def scenario():
        async with farm(tmp_path) as ide:
            users = [f"user-{number}" for number in range(USERS)]
            tabs = await ide.tabs(users * TABS)
            homes = {tab.user: tab.host for tab in tabs}

            plan = await ide.plan("--weight", "host-1=2")
            stale = await ide.plan("--weight", "host-3=0.5")
            await ide.command("ring", "apply", plan["id"])
            with pytest.raises(AssertionError, match="changed since"):
                await ide.command("ring", "apply", stale["id"])

            assert {to for _, to in moves(plan)} == {"host-1"}
            assert all(await asyncio.gather(*(tab.answers() for tab in tabs)))
            tabs += await ide.tabs(users)
            assert {tab.user: tab.host for tab in tabs} == homes  # who is connected stays
            astray = json.loads(await ide.command("ring", "strays", "--json"))["count"]
            assert astray == sum(moves(plan).values())

            await ide.command("ring", "settle", "--rate", "500/s")
            gone = {tab.user for tab in tabs if tab.code}
            while len(gone) < astray:
                await asyncio.wait([tab._watch for tab in tabs if not tab.code], return_when=asyncio.FIRST_COMPLETED)
                gone = {tab.user for tab in tabs if tab.code}
            assert {tab.code for tab in tabs if tab.user in gone} == {1012}
            back = await ide.tabs(gone)
            assert Counter((homes[tab.user], tab.host) for tab in back) == moves(plan)
            assert json.loads(await ide.command("ring", "strays", "--json"))["count"] == 0
            await asyncio.gather(*(tab.socket.close() for tab in tabs + back))

    loop.run(scenario())
