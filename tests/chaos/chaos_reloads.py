"""Reloads under traffic: whatever the file changes, no tunnel is cut, no request fails, and nothing piles up.

Every other reload is asked for by SIGHUP, the rest by an operator, who is answered once all workers serve by the new
file. Each has another timeout and another ring; by turns a host more, a listener more, and a new certificate.
"""

import signal
import time
from pathlib import Path

import trio
from chaos_run import ConnectionSketch, at_rest
from chaos_world import Host, World, tree
from harness import listener

WARM = 0.1
"""As a share of the reloads, those before the footprint is taken: caches and heaps have their size then."""
MORE_MEMORY = 16 << 20
"""Bytes that all processes together may have more after the reloads."""
PLAIN = 2
"""The number of a reload without another host or listener."""
PATIENCE = 20.0


def reloads(folder: Path, *, count: int, tunnels: int, seconds: float, seed: int) -> dict[str, object]:
    """As many reloads as there is time for; the summary, whose ``violations`` should be empty."""
    limits = {"max_handshakes": 0}  # all tunnels are opened at once, by one slow client
    with World(folder, 3, seed, {}, workers=2, timeouts={"idle": "3s"}, limits=limits) as world:
        spare = Host("host-3")
        try:
            summary = trio.run(_play, world, spare, count, tunnels, seconds)
        finally:
            spare.kill()
    return {**summary, "counts": dict(sorted(world.ledger.counts.items())), "violations": world.ledger.violations}


async def _play(world: World, spare: Host, count: int, tunnels: int, seconds: float) -> dict[str, object]:
    took: list[float] = []
    await trio.to_thread.run_sync(world.whole)
    descriptors, _ = world.footprint()
    async with ConnectionSketch(world, tunnels, every=2.0, secure=True):
        for number in range(round(count * WARM)):
            await _reload(world, spare, number)
        before = _footprint(world)
        end = time.monotonic() + seconds
        for number in range(count):
            if time.monotonic() > end:
                break
            took.append(await _reload(world, spare, number))
        await _reload(world, spare, PLAIN)
        await trio.to_thread.run_sync(world.whole)
        after = _footprint(world)
        for what, times in world.ledger.counts.items():
            if "tunnel" in what:
                world.ledger.violated(f"{what} ({times} times)")
    for what, most in (("processes", 0), ("memory", MORE_MEMORY)):
        if after[what] > before[what] + most:
            world.ledger.violated(f"{what}: {before[what]} before, {after[what]} after")
    kept = max(0, (await at_rest(world, descriptors))[0] - descriptors)
    if kept:
        world.ledger.violated(f"{kept} descriptors were kept")
    took.sort()
    return {
        "reloads": len(took),
        "reload_ms": {f"p{p}": round(1000 * took[len(took) * p // 100]) for p in (50, 95, 99)},
        "tunnels": tunnels,
        "before": before,
        "after": after,
        "descriptors_kept": kept,
    }


async def _reload(world: World, spare: Host, number: int) -> float:
    """Change the file and have it taken; how many seconds that took."""
    hosts = [*world.hosts, spare] if number % 3 == 0 else world.hosts
    members = world.pool(hosts, ring={"points": 150 + number % 10})
    if number % 5 == 0:
        world.authority.issue("ide.example")
    extra = [listener("extra")] if number % 4 == 0 else []
    world.daemon.configure(
        timeouts={**world.settings["timeouts"], "head": f"{5 + number % 7}s"},
        listener=[*world.listeners(), *extra],
        pool=[members],
    )
    began = time.monotonic()
    generation = world.generation() + 1
    if number % 2:
        world.daemon.process.send_signal(signal.SIGHUP)
        while world.generation() < generation:
            if time.monotonic() > began + PATIENCE:
                world.ledger.violated(f"reload {number} has not come")
                break
            await trio.sleep(0.01)
    else:
        await trio.to_thread.run_sync(world.ask, "POST", "/v1/reload", {})
    return time.monotonic() - began


def _footprint(world: World) -> dict[str, int]:
    return {"processes": len(tree(world.daemon.process.pid)), "memory": world.footprint()[1]}
