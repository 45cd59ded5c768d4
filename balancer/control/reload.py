"""Reload: replace the active configuration by the one in the file, all of it or nothing.

In this order: read and check; have the supervisor open the sockets that are missing; prepare everything else, build the
rings and write what changes of them to the journal; then nothing can fail any more: sockets and number of workers,
pools, probes, admin sockets, workers. Until then a fault leaves everything as it was.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import trio

from balancer.config.contents import NamedFiles
from balancer.config.difference import Difference, differences
from balancer.config.load import Report
from balancer.config.model import Config
from balancer.control.activation import Activation
from balancer.control.active_config import ActiveConfig
from balancer.control.certificate_watch import CertificateWatch
from balancer.control.certificates import check
from balancer.control.deadlines import CutAfter, default_cut
from balancer.control.events import Events
from balancer.control.placement_controller import PlacementController
from balancer.control.plans import LivePlan, Plans
from balancer.control.pool_state import configured_weights
from balancer.control.sockets import SocketSource, addresses_of, socket_keys, workers_of
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import ConfigError, Problem, Refused
from balancer.overlay.entries import RingRecord
from balancer.overlay.unfiled import Unfiled, unfiled

logger = logging.getLogger("balancer.reload")


class Prepared(Protocol):
    """A prepared part of a reload."""

    def activate(self) -> None:
        """Use the new configuration; must not fail."""

    def abandon(self) -> None:
        """Give up what was prepared."""


class Participant(Protocol):
    """A part of the daemon that changes with the configuration, other than pools and workers."""

    async def prepare(self, old: Config, new: Config) -> Prepared:
        """Prepare the change. Raise ``Refused``."""


@dataclass(frozen=True)
class Changes:
    """What a reload changes, or would change."""

    differences: list[Difference]
    plans: list[LivePlan]
    """Plans of the pools whose rings change."""
    warnings: list[Problem]
    removed: list["RemovedHost"]
    unfiled: list[tuple[str, Unfiled]]
    """What operators decided that the file does not say, with its pool."""


@dataclass(frozen=True)
class RemovedHost:
    """A backend that a reload removes, and the users and tunnels still on it."""

    pool: str
    backend: str
    users: int
    tunnels: int
    cut_after: CutAfter
    """Seconds after which the tunnels that are left are closed."""


@dataclass
class LastReload:
    """The result of the last reload."""

    time: float
    who: str
    ok: bool
    problems: list[str]


class Reloader:
    """``path`` is the file; ``lock`` is held while the configuration changes."""

    def __init__(
        self,
        path: Path,
        controller: PlacementController,
        plans: Plans,
        registry: WorkerRegistry,
        supervisor: SocketSource,
        activation: Activation,
        watch: CertificateWatch,
        participants: Sequence[Participant],
        events: Events,
        lock: trio.Lock,
    ) -> None:
        self.last: LastReload | None = None
        self._path = path
        self._controller = controller
        self._plans = plans
        self._registry = registry
        self._supervisor = supervisor
        self._activation = activation
        self._watch = watch
        self._participants = participants
        self._events = events
        self._lock = lock

    async def preview(self) -> Changes:
        """Return what a reload would change. Raise ``ConfigError`` or ``Refused`` for a file that would be refused."""
        async with self._lock:
            report, config, _ = await self._read()
            old = self._registry.active.config
            self._refuse_moved_state(config)
            changes = await self._changes(config, report.warnings)
            await self._supervisor.attempt(addresses_of(config), workers_of(config))
            with ExitStack() as stack:
                try:
                    for participant in self._participants:
                        stack.callback((await participant.prepare(old, config)).abandon)
                except Refused as error:
                    raise report.located(error) from None
            return changes

    async def compare(self) -> Changes:
        """Return how the file differs from what is active, without plans. Raise ``ConfigError`` for a faulty file."""
        report, config, _ = await self._read()
        decided = list(self._unfiled(config))
        return Changes(differences(self._registry.active.config, config), [], report.warnings, [], decided)

    async def reload(self, who: str) -> Changes:
        """Activate the file. Raise ``ConfigError`` or ``Refused`` if nothing was changed; ``last`` says why."""
        async with self._lock:
            with trio.CancelScope(shield=True):
                await self._supervisor.reloading()
                try:
                    changes = await self._reload(who)
                except (ConfigError, Refused) as error:
                    self._note(who, str(error).splitlines())
                    raise
                finally:
                    await self._supervisor.reloaded()
            self._note(who, [])
            return changes

    async def _reload(self, who: str) -> Changes:
        report, config, files = await self._read()
        before = self._registry.active
        self._refuse_moved_state(config)
        changes = await self._changes(config, report.warnings)
        bound = await self._supervisor.want(addresses_of(config), workers_of(config))
        if not files.secrets:
            files = replace(files, secrets=(self._controller.pools.journal.secret(),))
        level = before.level if config.log.level == before.config.log.level else config.log.level
        now, keys, generation = time.time(), socket_keys(config), before.generation + 1
        sockets = before.sockets
        active = ActiveConfig(generation, now, config, files, keys, bound, sockets, level)
        async with self._controller.alone():
            try:
                self._activation.reserve(active)
                activate = await self._prepare(before.config, config, who)
            except Refused as error:
                await self._supervisor.abort()
                raise report.located(error) from None
            active = replace(active, sockets=await self._supervisor.commit(config))
            activate()
            self._activation.activate(active)
        # Sockets and configuration reach a worker by different channels: the next reload must not overtake.
        await self._registry.settled(config.timeouts.hang)
        self._activation.announce(active, before)
        self._watch.read()
        return changes

    async def _prepare(self, old: Config, new: Config, who: str) -> Callable[[], None]:
        """Prepare what is here; calling what is returned activates it. Raise ``Refused``, everything given up."""
        with ExitStack() as stack:
            prepared = []
            for participant in self._participants:
                prepared.append(await participant.prepare(old, new))
                stack.callback(prepared[-1].abandon)
            activate_pools = await self._controller.reconfigure(new, who)
            stack.pop_all()

        def activate() -> None:
            activate_pools()
            for each in prepared:
                each.activate()

        return activate

    async def _read(self) -> tuple[Report, Config, NamedFiles]:
        report = await trio.to_thread.run_sync(check, self._path, time.time())
        if report.config is None or report.files is None:
            raise ConfigError(report.problems)
        return report, report.config, report.files

    def _refuse_moved_state(self, config: Config) -> None:
        if config.state_dir != self._registry.active.config.state_dir:
            raise Refused(
                "state_dir cannot change while the daemon runs: stop it, move the folder, change the file, start it"
            )

    async def _changes(self, config: Config, warnings: list[Problem]) -> Changes:
        old = self._registry.active.config
        before = {pool.name: pool for pool in old.pool}
        plans = [
            await self._plans.make(pool.name, [], RingRecord(ring=pool.ring, backends=pool.backend))
            for pool in config.pool
            if pool.name in before and (pool.ring, pool.backend) != (before[pool.name].ring, before[pool.name].backend)
        ]
        decided = list(self._unfiled(config))
        return Changes(differences(old, config), plans, warnings, list(self._removed(config)), decided)

    def _unfiled(self, config: Config) -> Iterator[tuple[str, Unfiled]]:
        for pool in config.pool:
            for each in unfiled(self._controller.pools.overlay(pool.name), configured_weights(pool), time.time()):
                yield pool.name, each

    def _removed(self, config: Config) -> Iterator[RemovedHost]:
        staying = {pool.name: {backend.name for backend in pool.backend} for pool in config.pool}
        after = {pool.name: default_cut(config, pool) for pool in config.pool}
        for name, state in self._controller.pools.states.items():
            cut_after = after.get(name, default_cut(config, state.config))
            for backend, each in state.backends.items():
                if backend not in staying.get(name, set()) | (state.overlay.added.keys() if name in after else set()):
                    users = state.leases.users[backend]
                    yield RemovedHost(name, backend, users, each.counts.tunnels, cut_after)

    def _note(self, who: str, problems: list[str]) -> None:
        self.last = LastReload(time.time(), who, not problems, problems)
        if problems:
            for problem in problems:
                logger.error("reload by %s refused, nothing has changed: %s", who, problem)
            self._events.emit("reload", f"refused: {problems[0]}", ok=False, who=who, problems=problems)
        else:
            generation = self._registry.active.generation
            logger.info("reload by %s: generation %d is active", who, generation)
            self._events.emit("reload", f"generation {generation} is active", ok=True, who=who)
