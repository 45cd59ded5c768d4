"""Upgrades under traffic: no client is refused or cut off, no byte is wrong, no counter falls, and nothing piles up.

Two releases take turns, with TLS tunnels, requests on kept connections and on new ones, slow uploads, handshakes that
stop half-way, and long downloads. A host drains from one version to the next. Some releases fail, and go back.
"""

import http.client
import json
import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from chaos_clients import ENDED, Gone, Tab, _Reader, _secured
from chaos_run import ConnectionSketch, at_rest
from chaos_world import Refused, World
from harness import of_session
from prometheus_client.parser import text_string_to_metric_families as parse
from releases import GOES_BACK, make_release

MORE_MEMORY = 24 << 20
"""Bytes that all processes together may have more after the upgrades."""
PATIENCE = 60.0
UPLOAD_PARTS = 20
PART = 1000
HALF_WAY = 1.0
"""Seconds for which a client stops in the middle of its handshake."""
LONG = 3.0
"""Seconds that an upgrade takes, about."""
KILLED = {"control": LONG, "worker": LONG, "rehearsal": 0.1}
"""Processes that are killed by turns, of both versions if both are there, within so many seconds."""
FAULTS = ("no-supervisor", "no-control", "no-worker", "no-answers")
"""Releases that fail at once."""


def upgrades(
    folder: Path, *, count: int, tunnels: int, seconds: float, seed: int, download: int, failing: int, warm: int
) -> dict[str, object]:
    """As many upgrades as there is time for; the summary, whose ``violations`` should be empty.

    ``failing`` is the number of releases that fail, in between. ``download`` is the size of long downloads. The
    footprint is taken after ``warm`` upgrades.
    """
    releases = folder / "releases"
    for version in ("1.1", "1.2"):
        make_release(releases / version, version)
    for name in FAULTS[:failing]:
        make_release(releases / name, "1.3", GOES_BACK[name])
    settings = {"releases": str(releases), "prove": "200ms", "max_generations": 100}
    timeouts = {"idle": "10s", "handshake": "60s"}
    limits = {"max_handshakes": 0}  # all tunnels are opened at once, by one slow client
    with World(folder, 3, seed, {}, workers=2, timeouts=timeouts, limits=limits, upgrade=settings) as world:
        summary = trio.run(_play, world, count, tunnels, seconds, download, FAULTS[:failing], warm)
    ledger = world.ledger
    return {**summary, "counts": dict(sorted(ledger.counts.items())), "violations": ledger.violations}


async def _play(
    world: World, count: int, tunnels: int, seconds: float, download: int, faults: tuple[str, ...], warm: int
) -> dict[str, object]:
    await trio.to_thread.run_sync(world.whole)
    for number in range(warm):
        await _upgrade(world, ("1.2", "1.1")[number % 2])
    descriptors, _ = world.footprint()
    took: list[float] = []
    stop = trio.Event()
    async with ConnectionSketch(world, tunnels, every=2.0, secure=True) as users, trio.open_nursery() as nursery:
        for client in (_newcomers, _upload, _dawdle, _never_fall):
            nursery.start_soon(client, world, stop)
        nursery.start_soon(_download, world, download, stop)
        nursery.start_soon(_come_and_go, world, users, stop)
        before = world.footprint()[1]
        end = time.monotonic() + seconds
        await _drain(world, "drain")
        while len(took) < count and time.monotonic() < end:
            took.append(await _upgrade(world, ("1.2", "1.1")[len(took) % 2]))
            if len(took) <= len(faults):
                await _fails(world, faults[len(took) - 1])
        await _drain(world, "ready")
        stop.set()
    await trio.to_thread.run_sync(world.whole)
    kept, after = await at_rest(world, descriptors)
    for what, times in world.ledger.counts.items():
        if "tunnel" in what:
            world.ledger.violated(f"{what} ({times} times)")
    if kept > descriptors:
        world.ledger.violated(f"{kept - descriptors} descriptors were kept")
    if after > before + MORE_MEMORY:
        world.ledger.violated(f"memory: {before} before, {after} after")
    took.sort()
    return {
        "upgrades": len(took),
        "upgrade_ms": {f"p{p}": round(1000 * took[len(took) * p // 100]) for p in (50, 95, 99)},
        "tunnels": tunnels,
        "memory_mib": {"before": before >> 20, "after": after >> 20},
        "descriptors": {"before": descriptors, "after": kept},
    }


async def _upgrade(world: World, release: str) -> float:
    """Upgrade; how many seconds that took."""
    began = time.monotonic()
    news = await _asked_for(world, release)
    if news["state"] != "done":
        world.ledger.violated(f"upgrade to {release}: {news['state']}: {news['problem']}")
    world.ledger.counts["upgrades"] += 1
    return time.monotonic() - began


async def _fails(world: World, release: str) -> None:
    """Upgrade to a release that fails."""
    news = await _asked_for(world, release)
    if news["state"] != "went back":
        world.ledger.violated(f"upgrade to {release}: {news['state']}, where it should go back")
    world.ledger.counts["upgrades that went back"] += 1


async def _asked_for(world: World, release: str) -> dict:
    """Ask for an upgrade as an operator does; what has become of it."""
    news = json.loads(await trio.to_thread.run_sync(world.ask, "POST", "/v1/upgrade", {"to": release}))
    with trio.fail_after(PATIENCE):
        while (found := json.loads(await trio.to_thread.run_sync(world.ask, "GET", "/v1/upgrade")))["state"] in (
            "rehearsing",
            "running",
        ):
            await trio.sleep(0.05)
    assert found["number"] == news["number"]
    return found


async def _drain(world: World, state: str) -> None:
    """Take a host out of service, or back; its users stay."""
    body = {"state": state, **({"cut_after": "never"} if state == "drain" else {})}
    await trio.to_thread.run_sync(world.admin, "PUT", "/backends/host-0/state", body)


async def _come_and_go(world: World, users: defaultdict[str, set[Tab]], stop: trio.Event) -> None:
    """Further tabs of connected users: ``watch`` sees whether they are where the others are."""
    while not stop.is_set():
        tab = Tab(world, world.random.choice(sorted(users)), users, 1.0, secure=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tab.run)
            await trio.sleep(1.0)
            tab.finish()
        world.ledger.counts["further tabs"] += 1


async def _newcomers(world: World, stop: trio.Event) -> None:
    """Somebody new after the other, by turns with TLS."""
    number = 0
    while not stop.is_set():
        number += 1
        await _one_request(world, f"new-{number}", "GET", secure=bool(number % 2))
        await trio.sleep(0.02)


async def _upload(world: World, stop: trio.Event) -> None:
    """Uploads that take as long as an upgrade."""
    number = 0
    while not stop.is_set():
        number += 1
        await _one_request(world, f"uploader-{number}", "PUT", parts=UPLOAD_PARTS)


async def _dawdle(world: World, stop: trio.Event) -> None:
    """Clients that stop in the middle of their handshake."""
    number = 0
    while not stop.is_set():
        number += 1
        await _one_request(world, f"dawdler-{number}", "GET", halfway=True)


async def _download(world: World, size: int, stop: trio.Event) -> None:
    """Long downloads."""
    number = 0
    while not stop.is_set():
        number += 1
        await _one_request(world, f"downloader-{number}", "GET", size=size)


async def _one_request(
    world: World,
    name: str,
    method: str,
    *,
    secure: bool = True,
    parts: int = 0,
    size: int = 0,
    halfway: bool = False,
) -> None:
    """A request on a connection of its own, which has to be answered as it should be."""
    kind, path = name.partition("-")[0], f"/big/{size}" if size else f"/r/{name}"
    head = (
        f"{method} {path}?token=secret-{name} HTTP/1.1\r\nHost: ide.example\r\nContent-Length: {parts * PART}\r\n\r\n"
    )
    began, port = time.monotonic(), 0
    try:
        with trio.fail_after(PATIENCE):
            tcp = await trio.open_tcp_stream("127.0.0.1", world.secure if secure else world.port)
            port = tcp.socket.getsockname()[1]
            raw: trio.abc.Stream = _HalfWay(tcp) if halfway else tcp
            async with _secured(world, raw) if secure else raw as stream:
                await stream.send_all(head.encode())
                for _ in range(parts):
                    await stream.send_all(bytes(PART))
                    await trio.sleep(0.1)
                reader = _Reader(stream)
                status = (await reader.head()).split(b" ")[1]
                right = status == b"200"
                while size:
                    part = await reader.exactly(min(size, 1 << 16))
                    size -= len(part)
                    right = right and not part.strip(b"\0")
                if path.startswith("/r/"):
                    wanted = f"{method} {path}".encode()
                    right = right and await reader.exactly(len(wanted)) == wanted
        if not right:
            world.ledger.violated(f"{name}: status {status.decode()}, or wrong bytes")
    except (Gone, trio.TooSlowError, *ENDED) as error:
        if port in world.cut:
            world.ledger.counts[f"{kind}, cut off with its worker"] += 1
            return
        world.ledger.violated(f"{name}: {type(error).__name__} {error} after {time.monotonic() - began:.1f} s")
    world.ledger.counts[kind] += 1


class _HalfWay(trio.abc.Stream):
    """A stream whose first bytes, which are a ClientHello, go out in two halves."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._begun = False

    async def send_all(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            await self._stream.send_all(data[: len(data) // 2])
            await trio.sleep(HALF_WAY)
            data = data[len(data) // 2 :]
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _never_fall(world: World, stop: trio.Event, *, killing: bool = False) -> None:
    """No counter falls, whichever process tells it; while control is being killed, nobody may answer."""
    known: dict[tuple, float] = {}
    while not stop.is_set():
        await trio.sleep(0.2)
        try:
            text = await trio.to_thread.run_sync(world.ask, "GET", "/metrics")
        except (OSError, http.client.HTTPException) as error:
            if not killing:
                world.ledger.violated(f"an operator is not answered: {error!r}")
            continue
        found = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in parse(text.decode())
            if family.type in ("counter", "histogram") and not family.name.startswith("process_")
            for sample in family.samples
        }
        for name, value in known.items():
            if found.get(name, 0.0) < value:
                world.ledger.violated(f"{name} fell from {value} to {found.get(name)}")
        known = found
        world.ledger.counts["looks at counters"] += 1


def killings(folder: Path, *, count: int, tunnels: int, seed: int) -> dict[str, object]:
    """Upgrades in which a process is killed at a random moment, and then one in which the supervisor is.

    Whatever comes of an upgrade, the daemon serves in one of the two versions; only the clients of a worker that is
    killed lose anything, and nobody who waits at a listening socket. Without their supervisor the workers keep what
    they have, and end with it.
    """
    releases = folder / "releases"
    for version in ("1.1", "1.2"):
        make_release(releases / version, version)
    settings = {"releases": str(releases), "prove": "200ms", "max_generations": 100}
    with World(folder, 3, seed, {}, workers=2, timeouts={"idle": "10s"}, upgrade=settings) as world:
        trio.run(_kill, world, count, tunnels)
    ledger = world.ledger
    return {"seed": seed, "counts": dict(sorted(ledger.counts.items())), "violations": ledger.violations}


async def _kill(world: World, count: int, tunnels: int) -> None:
    stop = trio.Event()
    await trio.to_thread.run_sync(world.whole)
    await _upgrade(world, "1.1")
    async with ConnectionSketch(world, tunnels, every=0.5, secure=True), trio.open_nursery() as nursery:
        nursery.start_soon(partial(_never_fall, world, stop, killing=True))
        nursery.start_soon(_newcomers, world, stop)
        for number in range(count):
            kind, within = list(KILLED.items())[number % len(KILLED)]
            async with trio.open_nursery() as upgrade:
                upgrade.start_soon(_begin_upgrade, world, ("1.2", "1.1")[number % 2])
                await trio.sleep(world.random.uniform(0, within))
                if victims := await _victims(world, kind):
                    victim = world.random.choice(victims)
                    with suppress(ProcessLookupError, FileNotFoundError):
                        world.cut_off(victim)
                        world.ledger.counts[f"killed {kind}"] += 1
            await _settled(world)
        stop.set()
    await trio.to_thread.run_sync(world.whole)
    async with ConnectionSketch(world, tunnels, every=0.5, secure=True, newcomers=False):
        await _begin_upgrade(world, "1.2")
        await trio.sleep(world.random.uniform(0, LONG))
        world.daemon.process.kill()
        world.ledger.counts["killed supervisor"] += 1
        await trio.sleep(LONG)  # tunnels go on
    with trio.move_on_after(PATIENCE):
        while of_session(world.daemon.process.pid):
            await trio.sleep(0.1)
    if left := of_session(world.daemon.process.pid):
        world.ledger.violated(f"processes {left} have outlived their supervisor and their tunnels")


async def _begin_upgrade(world: World, release: str) -> None:
    with suppress(Refused, OSError, http.client.HTTPException):
        await trio.to_thread.run_sync(world.ask, "POST", "/v1/upgrade", {"to": release})


async def _victims(world: World, kind: str) -> list[int]:
    """Processes of that kind, at present or, of the rehearsal, within a moment."""
    with trio.move_on_after(1):
        while not (found := world.processes(kind)):
            await trio.sleep(0.01)
        return found
    return []


async def _settled(world: World) -> None:
    """Wait until an upgrade is over, one way or the other, and the daemon is whole."""
    with trio.move_on_after(PATIENCE) as waiting:
        while True:
            with suppress(OSError, http.client.HTTPException):
                news = json.loads(await trio.to_thread.run_sync(world.ask, "GET", "/v1/upgrade"))
                if news["state"] not in ("rehearsing", "running"):
                    world.ledger.counts[f"upgrade: {news['state']}"] += 1
                    break
            await trio.sleep(0.1)
    if waiting.cancelled_caught:
        world.ledger.violated(f"an upgrade is not over after {PATIENCE:g} s")
    await trio.to_thread.run_sync(_whole, world)


def _whole(world: World) -> None:
    """Back when as many workers of the present version as there should be are at work."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            workers = json.loads(world.ask("GET", "/v1/status"))["workers"]
            if len(workers) == world.settings["workers"] and all(each["agrees"] for each in workers):
                return
        time.sleep(0.1)
    world.ledger.violated(f"the daemon is not whole again after {PATIENCE:g} s")
