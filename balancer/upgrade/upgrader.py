"""Control's part in an upgrade: may it begin, to which release, and what has become of it.

The supervisor does the rest, and tells with each step: see ``daemon.upgrades``.
"""

import logging
from typing import Any, Protocol

import trio

from balancer.control.events import Events
from balancer.control.lifecycle import Lifecycle
from balancer.control.pools import Pools
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import Refused
from balancer.ipc.supervision import ProcessFacts, RingFacts, Upgrade, WantUpgrade
from balancer.upgrade.release import find_release, running

logger = logging.getLogger("balancer.upgrade")

BEGIN_TIMEOUT = 5.0
"""Seconds within which the supervisor has to begin."""
_UNDER_WAY = ("rehearsing", "running")


class UpgradeSource(Protocol):
    """The supervisor, as it is needed here."""

    async def upgrade(self, wanted: WantUpgrade) -> None:
        """Begin an upgrade, or its rehearsal; what becomes of it is told later."""


class Upgrader:
    """Asks ``supervisor`` for upgrades; ``reloading`` is held while the configuration changes."""

    def __init__(
        self,
        supervisor: UpgradeSource,
        pools: Pools,
        registry: WorkerRegistry,
        lifecycle: Lifecycle,
        events: Events,
        reloading: trio.Lock,
    ) -> None:
        self.news = Upgrade(0)
        """What the supervisor has told last."""
        self._supervisor = supervisor
        self._pools = pools
        self._registry = registry
        self._lifecycle = lifecycle
        self._events = events
        self._reloading = reloading
        self._told = trio.Event()

    @property
    def under_way(self) -> bool:
        """Whether an upgrade is."""
        return self.news.state in _UNDER_WAY

    async def over(self) -> None:
        """Wait until no upgrade is under way."""
        while self.under_way:
            await self._told.wait()

    async def upgrade(self, to: str | None, who: str, *, any_path: bool, dry_run: bool, allow_moves: bool) -> Upgrade:
        """Begin an upgrade; return once its rehearsal has passed. Raise ``Refused`` if it has not, or must not begin.

        ``to`` is the name of a release or, with ``any_path``, a path.
        """
        config = self._registry.active.config.upgrade
        try:
            self._reloading.acquire_nowait()
        except trio.WouldBlock:
            raise Refused("a reload is running; try again when it is over") from None
        try:
            if self.under_way:
                raise Refused(f"an upgrade to {self.news.release} is under way, asked for by {self.news.who}")
            if self._lifecycle.draining or self._lifecycle.lame_until is not None:
                raise Refused("the daemon is stopping")
            generations = {process.generation for process in self.previous()}
            if len(generations) >= config.max_generations and not dry_run:
                raise Refused(
                    f"{len(generations)} previous versions still have tunnels (upgrade.max_generations): wait for "
                    "their end, or end them with `balancer upgrade --finish`"
                )
            mine = running().folder
            release = await trio.to_thread.run_sync(lambda: find_release(to, config.releases, mine, any_path=any_path))
            rings = {
                name: RingFacts(pool.ring.fingerprint, dict(pool.weights)) for name, pool in self._pools.states.items()
            }
            number = self.news.number
            wanted = WantUpgrade(release.folder, who, dry_run, allow_moves, config.prove, rings)
            await self._supervisor.upgrade(wanted)
            with trio.move_on_after(BEGIN_TIMEOUT):
                while self.news.number == number:
                    await self._told.wait()
            if self.news.number == number:
                raise Refused("the supervisor does not begin: the daemon starts or stops, or is busy")
            while self.news.state == "rehearsing":
                await self._told.wait()
        finally:
            self._reloading.release()
        if self.news.state == "refused":
            raise Refused(self.news.problem)
        return self.news

    def note(self, news: Upgrade) -> None:
        """Note what the supervisor tells."""
        former, self.news = self.news, news
        self._told.set()
        self._told = trio.Event()
        if (former.number, former.state) != (news.number, news.state) and news.state != "none":
            why = f": {news.problem}" if news.problem else ""
            text = f"upgrade from {news.before} to {news.version or news.release} {_WORDS[news.state]}{why}"
            self._events.emit("upgrade", text, state=news.state, to=news.release, who=news.who)

    def finish(self, over: float, who: str) -> tuple[int, int]:
        """End what workers of previous versions still have, over so many seconds.

        Return how many there are, and their tunnels.
        """
        workers = self._registry.previous()
        tunnels = sum(len(worker.tunnels) for worker in workers)
        if self.under_way:
            raise Refused("an upgrade is under way: the workers before are still needed")
        self._registry.finish(over)
        if workers:
            logger.info("ending %d tunnels of previous versions, by %s", tunnels, who)
        return len(workers), tunnels

    def previous_versions(self) -> list[dict[str, Any]]:
        """Describe the previous versions that still have workers, the oldest first."""
        found: dict[int, dict[str, Any]] = {}
        for process in sorted(self.previous(), key=lambda each: each.generation):
            one = found.setdefault(
                process.generation, {"version": process.version, "workers": 0, "tunnels": 0, "oldest": None}
            )
            one["workers"] += 1
            for worker in self._registry.previous():
                if worker.pid == process.pid and worker.tunnels:
                    one["tunnels"] += len(worker.tunnels)
                    oldest = trio.current_time() - min(tunnel.since for tunnel in worker.tunnels.values())
                    one["oldest"] = max(oldest, one["oldest"] or 0.0)
        return list(found.values())

    def previous(self) -> list[ProcessFacts]:
        """Return the workers of previous versions."""
        processes, present = self._lifecycle.processes, self._registry.version_generation
        return [each for each in processes if each.name != "control" and each.pid and each.generation < present]


_WORDS = {
    "rehearsing": "is being rehearsed",
    "rehearsed": "was rehearsed: it would be possible",
    "refused": "was refused",
    "running": "has begun",
    "done": "is done",
    "went back": "has failed, and the version before goes on",
}
