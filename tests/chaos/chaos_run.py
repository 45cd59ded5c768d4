"""One chaos run from start to verdict."""

import time
from collections import defaultdict
from pathlib import Path

import trio
from chaos_actions import rampage
from chaos_clients import Tab, ask, watch
from chaos_world import World

HEALTH = {
    **{"type": "http", "interval": "1s", "fast_interval": "300ms", "timeout": "1s", "fall": 2, "rise": 2},
    # One trouble after the other is what this is about: a host that is back is back.
    **{"on_down": "close", "ejection_time": "500ms", "max_ejection_time": "1s", "panic_threshold": 0.0},
}
TIMEOUTS = {"connect": "1s", "response": "2s", "idle": "3s", "close_spread": "300ms", "drain": "20s"}
RETRY = {"count": 5, "time": "20s", "budget": 10.0}
"""The budget protects a pool that dies from its users; here some host is always well."""
TABS = (1, 2, 3)
"""Tabs of a user, by turns."""
SETTLED = 15.0
"""Seconds in which the daemon gives back what the last clients had: idle connections, leases, threads."""
MORE_MEMORY = 24 << 20
"""Bytes the daemon may keep beyond what it had after the same number of clients had come and gone once."""


def chaos(
    folder: Path, *, tunnels: int, seconds: float, seed: int, hosts: int = 4, every: float = 1.0
) -> tuple[dict, str, str]:
    """Run it; the summary, whose ``violations`` should be empty, and the daemon's access log and messages."""
    with World(folder, hosts, seed, {"health": HEALTH, "retry": RETRY}, timeouts=TIMEOUTS, workers=2) as world:
        began = time.monotonic()
        before = trio.run(_play, world, tunnels, seconds, every)
        after = trio.run(at_rest, world, before[0])
    ledger = world.ledger
    if "nothing has changed" in str(world.daemon.stderr):
        ledger.violated("a reload was refused")
    if after[0] > before[0]:
        ledger.violated(f"{after[0] - before[0]} descriptors were kept")
    if after[1] > before[1] + MORE_MEMORY:
        ledger.violated(f"{(after[1] - before[1]) >> 20} MiB of memory were kept")
    back = sorted(ledger.back)
    summary = {
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "tunnels": tunnels,
        "counts": dict(sorted(ledger.counts.items())),
        "reconnect_ms": {f"p{p}": round(1000 * back[len(back) * p // 100]) for p in (50, 95, 99)},
        "descriptors": {"before": before[0], "after": after[0]},
        "resident_mib": {"before": before[1] >> 20, "after": after[1] >> 20},
        "violations": ledger.violations,
    }
    return summary, str(world.daemon.stdout), str(world.daemon.stderr)


async def _play(world: World, tunnels: int, seconds: float, every: float) -> tuple[int, int]:
    """The same clients twice, in peace and in chaos; the footprint between the two."""
    await trio.to_thread.run_sync(world.admin, "PUT", "/backends/host-0/weight", {"weight": 2.0})  # all are at work
    started, _ = world.footprint()
    async with ConnectionSketch(world, tunnels, every):
        pass
    before = await at_rest(world, started)
    async with ConnectionSketch(world, tunnels, every) as users:
        await rampage(world, users, seconds, pace=0.5)
        await trio.sleep(1)
    return before


class ConnectionSketch:
    """All users connected inside, some by TLS or all; at the end every message has been answered, or is missed.

    Others make requests meanwhile, unless nobody new is to come.
    """

    def __init__(
        self, world: World, tunnels: int, every: float, *, secure: bool = False, newcomers: bool = True
    ) -> None:
        self._world = world
        self._users: defaultdict[str, set[Tab]] = defaultdict(set)
        self._tabs: list[Tab] = []
        while len(self._tabs) < tunnels:
            user = f"user-{len(self._tabs)}"
            self._tabs += [
                Tab(world, user, self._users, every, secure=secure or n % 2 == 0)
                for n in range(TABS[len(self._tabs) % len(TABS)])
            ]
        self._stop = trio.Event()
        self._askers = max(2, len(self._tabs) // 25) if newcomers else 0
        self._manager = trio.open_nursery()

    async def __aenter__(self) -> defaultdict[str, set[Tab]]:
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(watch, self._world, self._users)
        self._talking = 0
        for tab in self._tabs:
            self._nursery.start_soon(self._follow, tab.run)
        for number in range(self._askers):
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


async def at_rest(world: World, descriptors: int) -> tuple[int, int]:
    """The footprint as soon as it has no more descriptors than that, or when time is up."""
    end = time.monotonic() + SETTLED
    while (now := world.footprint())[0] > descriptors and time.monotonic() < end:
        await trio.sleep(0.1)
    return now
