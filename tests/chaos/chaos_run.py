"""One chaos run from start to verdict."""

import gc
import time
from collections import defaultdict
from pathlib import Path

import trio
from chaos_actions import rampage
from chaos_clients import Tab, ask, watch
from chaos_world import World

TABS = (1, 2, 3)
"""Tabs of a user, by turns."""
SETTLED = 8.0
"""Seconds in which the daemon gives back what the last clients had: idle connections, leases, threads."""
MORE_MEMORY = 24 << 20
"""Bytes the daemon may keep beyond what it had after the same number of clients had come and gone once."""


def chaos(folder: Path, *, tunnels: int, seconds: float, seed: int, hosts: int = 4, every: float = 1.0) -> dict:
    """Run it; the summary, whose ``violations`` should be empty."""
    with World(folder, hosts, seed) as world:
        began = time.monotonic()
        before = trio.run(_play, world, tunnels, seconds, every)
        after = trio.run(_settle, world, before)
    ledger = world.ledger
    if after[0] > before[0]:
        ledger.violated(f"{after[0] - before[0]} descriptors were kept")
    if after[1] > before[1] + MORE_MEMORY:
        ledger.violated(f"{(after[1] - before[1]) >> 20} MiB of memory were kept")
    back = sorted(ledger.back)
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "tunnels": tunnels,
        "counts": dict(sorted(ledger.counts.items())),
        "reconnect_ms": {f"p{p}": round(1000 * back[len(back) * p // 100]) for p in (50, 95, 99)},
        "descriptors": {"before": before[0], "after": after[0]},
        "resident_mib": {"before": before[1] >> 20, "after": after[1] >> 20},
        "violations": ledger.violations,
    }


async def _play(world: World, tunnels: int, seconds: float, every: float) -> tuple[int, int]:
    """The same clients twice, in peace and in chaos; the footprint between the two."""
    await trio.to_thread.run_sync(world.admin, "PUT", "/backends/host-0/weight", {"weight": 1.0})
    async with _Crowd(world, tunnels, every):
        pass
    before = await _footprint(world)
    async with _Crowd(world, tunnels, every) as users:
        await rampage(world, users, seconds, pace=0.5)
        await trio.sleep(1)
    return before


class _Crowd:
    """All users connected inside; at the end every message has been answered, or is missed."""

    def __init__(self, world: World, tunnels: int, every: float) -> None:
        self._world = world
        self._users: defaultdict[str, set[Tab]] = defaultdict(set)
        self._tabs: list[Tab] = []
        while len(self._tabs) < tunnels:
            user = f"user-{len(self._tabs)}"
            self._tabs += [Tab(world, user, self._users, every) for _ in range(TABS[len(self._tabs) % len(TABS)])]
        self._stop = trio.Event()
        self._manager = trio.open_nursery()

    async def __aenter__(self) -> defaultdict[str, set[Tab]]:
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(watch, self._world, self._users)
        self._talking = 0
        for tab in self._tabs:
            self._nursery.start_soon(self._follow, tab.run)
        for number in range(max(2, len(self._tabs) // 25)):
            self._nursery.start_soon(self._follow, ask, self._world, f"asker-{number}", 0.2, self._stop)
        with trio.fail_after(30):
            while sum(map(len, self._users.values())) < len(self._tabs):
                await trio.sleep(0.02)
        return self._users

    async def __aexit__(self, *exc: object) -> bool | None:
        if exc[0] is None:
            self._stop.set()
            for tab in self._tabs:
                tab.finish()
            with trio.fail_after(60):
                while self._talking:
                    await trio.sleep(0.02)
        self._nursery.cancel_scope.cancel()
        return await self._manager.__aexit__(*exc)

    async def _follow(self, run, *args) -> None:
        self._talking += 1
        await run(*args)
        self._talking -= 1


async def _footprint(world: World) -> tuple[int, int]:
    """Once it no longer shrinks."""
    last, steady = world.footprint(), 0
    end = time.monotonic() + SETTLED
    while steady < 15 and time.monotonic() < end:
        await trio.sleep(0.2)
        now = world.footprint()
        steady = 0 if now[0] < last[0] else steady + 1
        last = now
    return last


async def _settle(world: World, before: tuple[int, int]) -> tuple[int, int]:
    gc.collect()
    return await _footprint(world)
