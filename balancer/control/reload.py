"""Reload: the configuration in force gives way to the one in the file, as a whole or not at all.

In this order: read and check; let the supervisor open the sockets that are missing; build the rings and write what
changes of them to the journal; then nothing can fail any more: sockets and number of workers, pools, probes, admin
sockets, workers. Until then a fault leaves everything as it was. Certificates are read here, once, and sent to the
workers: all of them serve the same, also one that starts later, when the files may be bad.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import trio

from balancer.config.certificates import findings
from balancer.config.difference import Difference, differences
from balancer.config.load import check
from balancer.config.model import Config
from balancer.config.scalars import Address
from balancer.control.active_config import ActiveConfig
from balancer.control.certificates import read_backend_certificates, read_certificates, refuse_outdated
from balancer.control.placement_controller import PlacementController
from balancer.control.plans import LivePlan, Plans
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import ConfigError, Problem, Refused
from balancer.overlay.entries import RingConfig

logger = logging.getLogger("balancer.reload")

LOOK_EVERY = 1.0
"""Seconds between two looks whether certificate files have changed. They are read once two looks find the same: a chain
and its key are written one after the other."""


class Supervisor(Protocol):
    """What is asked of the supervisor, one question at a time, and what it is told."""

    async def want(self, sockets: Mapping[str, Address], workers: int) -> Mapping[str, tuple[str, ...]]:
        """Have these sockets ready; where they are bound, by key. Raises ``Refused``."""

    async def commit(self, config: Config) -> int:
        """Put in force what was wanted last; the version of the sockets that is."""

    async def abort(self) -> None:
        """Forget what was wanted last."""

    async def say(self, kind: str) -> None:
        """That a reload begins ("reloading") or is over ("reloaded"): the service manager is told."""


@dataclass(frozen=True)
class Changes:
    """What a reload does, or would do."""

    differences: list[Difference]
    plans: list[LivePlan]
    """Of the pools whose rings change: whose users belong elsewhere then."""
    warnings: list[Problem]


@dataclass
class LastReload:
    """How the last one went."""

    time: float
    who: str
    ok: bool
    problems: list[str]


def socket_keys(config: Config) -> dict[str, tuple[str, ...]]:
    """Of each listener, the keys of its sockets: their addresses, made unique where the system chooses the port."""
    return {
        listener.name: tuple(
            str(address) if address.port else f"{listener.name} {number} {address}"
            for number, address in enumerate(listener.bind)
        )
        for listener in config.listener
    }


def addresses_of(config: Config) -> dict[str, Address]:
    """The address behind each key."""
    keys = socket_keys(config)
    return {
        key: address
        for listener in config.listener
        for key, address in zip(keys[listener.name], listener.bind, strict=True)
    }


def workers_of(config: Config) -> int:
    """How many workers there are to be."""
    return len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers


class Reloader:
    """``path`` is the file.

    ``prepare`` is called with the old and the new configuration and makes ready what is neither pool nor worker, or
    raises ``Refused``; of the two functions it gives, one puts that in force and the other gives it up. ``keep`` lets
    what is in force outlive this process.
    """

    def __init__(
        self,
        path: Path,
        controller: PlacementController,
        plans: Plans,
        registry: WorkerRegistry,
        supervisor: Supervisor,
        prepare: Callable[[Config, Config], tuple[Callable[[], None], Callable[[], None]]],
        keep: Callable[[ActiveConfig], None],
    ) -> None:
        self.last: LastReload | None = None
        self._path = path
        self._controller = controller
        self._plans = plans
        self._registry = registry
        self._supervisor = supervisor
        self._prepare = prepare
        self._keep = keep
        self._lock = trio.Lock()
        self._seen = self._stamps()

    async def preview(self) -> Changes:
        """What a reload would change now. Raises ``ConfigError`` or ``Refused`` for a file that would not be taken."""
        config, warnings = await self._read()
        await trio.to_thread.run_sync(read_certificates, config)
        await trio.to_thread.run_sync(read_backend_certificates, config)
        return await self._changes(config, warnings)

    async def reload(self, who: str) -> Changes:
        """Put the file in force. Raises ``ConfigError`` or ``Refused``; then all is as it was, ``last`` says why."""
        async with self._lock:
            with trio.CancelScope(shield=True):
                await self._supervisor.say("reloading")
                try:
                    changes = await self._reload(who)
                except (ConfigError, Refused) as error:
                    self._note(who, str(error).splitlines())
                    raise
                finally:
                    await self._supervisor.say("reloaded")
            self._note(who, [])
            return changes

    async def watch_certificates(self) -> None:
        """Put certificates in force whose files have changed, until cancelled; for bad ones the last good stay."""
        before = self._seen
        while True:
            await trio.sleep(LOOK_EVERY)
            stamps = await trio.to_thread.run_sync(self._stamps)
            if stamps == before != self._seen:
                async with self._lock:
                    self._seen = stamps
                    await self._renew()
            before = stamps

    async def _renew(self) -> None:
        active = self._registry.active
        try:
            bad = [each for each in findings(active.config, time.time()) if not each.warning]
            if bad:
                raise Refused("; ".join(each.message for each in bad))
            certificates = await trio.to_thread.run_sync(read_certificates, active.config)
            refuse_outdated(active.config, active.certificates, certificates)
        except Refused as error:
            logger.error("certificates have changed and are not taken, the last good ones stay: %s", error)
            self._controller.events.emit("certificate", f"not taken, the last good ones stay: {error}", ok=False)
            return
        if certificates != active.certificates:
            self._put(replace(active, certificates=certificates))
            logger.info("certificates have changed and are in force")
            self._controller.events.emit("certificate", "new certificates are in force", ok=True)

    async def _reload(self, who: str) -> Changes:
        config, warnings = await self._read()
        active = self._registry.active
        if config.state_dir != active.config.state_dir:
            raise Refused(
                "state_dir cannot change while the daemon runs: stop it, move the folder, change the file, start it"
            )
        certificates = await trio.to_thread.run_sync(read_certificates, config)
        backend_tls = await trio.to_thread.run_sync(read_backend_certificates, config)
        changes = await self._changes(config, warnings)
        workers = workers_of(config)
        bound = await self._supervisor.want(addresses_of(config), workers)
        async with self._controller.alone():
            try:
                put_here, give_up = self._prepare(active.config, config)
                try:
                    put_pools = await self._controller.reconfigure(config, who)
                except Refused:
                    give_up()
                    raise
            except Refused:
                await self._supervisor.abort()
                raise
            sockets = await self._supervisor.commit(config)
            put_pools()
            put_here()
            level = active.level if config.log.level == active.config.log.level else config.log.level
            keys = socket_keys(config)
            self._put(
                ActiveConfig(
                    active.generation + 1, time.time(), config, certificates, backend_tls, keys, bound, sockets, level
                )
            )
        # A worker hears of its sockets and of this by different ways: the next reload must not overtake.
        await self._registry.settled(config.timeouts.hang)
        self._seen = self._stamps()
        return changes

    def _put(self, active: ActiveConfig) -> None:
        self._keep(active)
        self._registry.reconfigure(active)

    async def _read(self) -> tuple[Config, list[Problem]]:
        report = await trio.to_thread.run_sync(check, self._path, time.time())
        if report.config is None:
            raise ConfigError(report.problems)
        return report.config, report.warnings

    async def _changes(self, config: Config, warnings: list[Problem]) -> Changes:
        old = self._registry.active.config
        before = {pool.name: pool for pool in old.pool}
        plans = [
            await self._plans.make(pool.name, [], RingConfig(ring=pool.ring, backends=pool.backend))
            for pool in config.pool
            if pool.name in before and (pool.ring, pool.backend) != (before[pool.name].ring, before[pool.name].backend)
        ]
        return Changes(differences(old, config), plans, warnings)

    def _note(self, who: str, problems: list[str]) -> None:
        self.last = LastReload(time.time(), who, not problems, problems)
        if problems:
            for problem in problems:
                logger.error("reload by %s refused, nothing has changed: %s", who, problem)
            self._controller.events.emit("reload", f"refused: {problems[0]}", ok=False, who=who, problems=problems)
        else:
            generation = self._registry.active.generation
            logger.info("reload by %s: generation %d is in force", who, generation)
            self._controller.events.emit("reload", f"generation {generation} is in force", ok=True, who=who)

    def _stamps(self) -> dict[Path, tuple[int, int, int] | None]:
        """What tells whether a certificate file is the same."""
        return {path: _stamp(path) for path in _files(self._registry.active.config)}


def _files(config: Config) -> list[Path]:
    return [
        path
        for listener in config.listener
        for each in (listener.tls.certificates if listener.tls else ())
        for path in (each.cert, each.key)
    ]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
