"""What a chaos run does to the world. Each action is a coroutine; it undoes what it has done before it returns."""

import math
import os
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from http.client import HTTPException

import trio
from chaos_clients import MOVING, Tab
from chaos_world import PATIENCE, Host, World

Users = defaultdict[str, set[Tab]]
Action = Callable[[World, Users], Awaitable[None]]
PROCESSES_REST = 3.0
"""Seconds between two things that are done to processes of the daemon, at least."""


async def kill(world: World, _: Users) -> None:
    """A host dies and is started again after a while."""
    async with _victim(world, "killed") as host:
        host.kill()
        await trio.sleep(world.random.uniform(0.1, 2.5))
        await trio.to_thread.run_sync(host.start)


async def stop(world: World, _: Users) -> None:
    """A host stands still: its kernel goes on accepting, nobody answers."""
    async with _victim(world, "stopped") as host:
        host.signal(signal.SIGSTOP)
        await trio.sleep(world.random.choice([0.2, 1.0, 4.0]))
        host.signal(signal.SIGCONT)
        host.trouble = "recovering"
        await trio.sleep(2)


async def slow(world: World, _: Users) -> None:
    """A host takes its time."""
    async with _victim(world, "slow") as host:
        host.signal(signal.SIGUSR1)
        await trio.sleep(world.random.uniform(0.5, 3))
        host.signal(signal.SIGUSR2)


async def drain(world: World, _: Users) -> None:
    """An operator drains a host, and takes it back before anybody has to leave."""
    async with _victim(world, "drained") as host:
        await _admin(world, "PUT", f"/backends/{host.name}/state", {"state": "drain"})
        await trio.sleep(world.random.uniform(0.2, 2))
        await _admin(world, "PUT", f"/backends/{host.name}/state", {"state": "ready"})


async def weigh(world: World, _: Users) -> None:
    """An operator changes a weight: another ring."""
    host = world.random.choice(world.hosts)
    weight = world.random.choice([0.5, 1.0, 2.0])
    await _admin(world, "PUT", f"/backends/{host.name}/weight", {"weight": weight})


async def pin(world: World, users: Users) -> None:
    """An operator pins users who are connected; pins end by themselves."""
    for user in world.random.sample(sorted(users), min(5, len(users))):
        host = world.random.choice([host for host in world.hosts if host.trouble != "drained"])
        await _admin(world, "POST", "/pins", {"token": f"secret-{user}", "backend": host.name, "seconds": 2})


async def leave(world: World, users: Users) -> None:
    """Some clients vanish without a word, and come back."""
    open_tabs = sorted((tab for tabs in users.values() for tab in tabs), key=lambda tab: (tab.user, tab.opened))
    for tab in world.random.sample(open_tabs, min(20, len(open_tabs))):
        tab.vanish()


async def kill_worker(world: World, _: Users) -> None:
    """A worker dies: its own connections end, no others, and there is another at once."""
    async with _disturbance(world) as due:
        if due:
            await trio.to_thread.run_sync(world.cut_off, world.random.choice(world.processes("worker")))


async def stop_worker(world: World, _: Users) -> None:
    """A worker stands still, for less than makes it be taken for hung."""
    async with _disturbance(world) as due:
        if due:
            pid = world.random.choice(world.processes("worker"))
            os.kill(pid, signal.SIGSTOP)
            await trio.sleep(world.random.uniform(0.2, 1.5))
            os.kill(pid, signal.SIGCONT)


async def kill_control(world: World, _: Users) -> None:
    """What keeps rings and states dies: nobody notices, and the next goes on with them."""
    async with _disturbance(world) as due:
        if due:
            os.kill(world.processes("control")[0], signal.SIGKILL)


async def reload(world: World, _: Users) -> None:
    """An operator changes the file, and tells the daemon: another timeout, another ring, a new certificate."""
    world.daemon.configure(
        timeouts={**world.settings["timeouts"], "head": f"{world.random.randint(5, 20)}s"},
        pool=[world.pool(ring={"points": world.random.choice([150, 160])})],
    )
    world.authority.issue("ide.example")
    world.daemon.process.send_signal(signal.SIGHUP)


ACTIONS: list[Action] = [
    *(kill, kill, stop, stop, slow, slow, drain, weigh, pin, leave),
    *(reload, kill_worker, kill_control, stop_worker),
]
"""Chosen with equal chances; what stands here twice comes twice as often."""


async def rampage(world: World, users: Users, seconds: float, pace: float) -> None:
    """Actions at random for so long, several at a time; back when all of them are undone."""
    end = time.monotonic() + seconds
    async with trio.open_nursery() as nursery:
        while time.monotonic() < end:
            action = world.random.choice(ACTIONS)
            world.ledger.counts[f"action: {action.__name__}"] += 1
            nursery.start_soon(action, world, users)
            await trio.sleep(world.random.uniform(0, 2 * pace))


class _victim:
    """A host that nothing is being done to, in ``trouble`` meanwhile; at least one other is left alone."""

    def __init__(self, world: World, trouble: str) -> None:
        self._world = world
        self._trouble = trouble

    async def __aenter__(self) -> Host:
        while len(well := [host for host in self._world.hosts if not host.trouble]) < 2:
            await trio.sleep(0.05)
        self._host = self._world.random.choice(well)
        self._host.trouble = self._trouble
        return self._host

    async def __aexit__(self, *_: object) -> None:
        self._host.trouble = ""


class _disturbance:
    """Something is done to processes of the daemon: rarely enough that they are not taken for hopeless. Else not due.

    It is over when operators are answered and all workers are at work.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def __aenter__(self) -> bool:
        self._due = time.monotonic() > self._world.disturbed + PROCESSES_REST
        if self._due:
            self._world.disturbed = math.inf
        return self._due

    async def __aexit__(self, *_: object) -> None:
        if self._due:
            await trio.to_thread.run_sync(self._world.whole)
            self._world.disturbed = time.monotonic() + MOVING


async def _admin(world: World, method: str, path: str, body: dict[str, object]) -> None:
    """Said once more if control was killed meanwhile: it may have been heard, or not."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await trio.to_thread.run_sync(world.admin, method, path, body)
                return
            except (OSError, HTTPException):
                if not world.disturbed:
                    raise
            await trio.sleep(0.1)
