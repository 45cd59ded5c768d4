"""The control process: reads the configuration, probes, keeps the rings, and tells the workers. It carries no traffic.

At the start it says what is wrong with the configuration and ends with 1, if something is. Killed and started again, it
goes on with what was in force, with the journal and with what was held of the backends; workers come back to it.
"""

import gc
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import trio

from balancer.admin.api import AdminApi
from balancer.admin.daemon_gauges import Life, daemon_gauges
from balancer.admin.listeners import open_listeners
from balancer.admin.services import Services
from balancer.config.load import check
from balancer.config.model import Config
from balancer.control import active_config, saved_counters
from balancer.control.active_config import ActiveConfig, Remembered
from balancer.control.certificates import read_backend_certificates, read_certificates
from balancer.control.evictions import Evictions
from balancer.control.placement_controller import PlacementController
from balancer.control.plans import Plans
from balancer.control.prober import Prober
from balancer.control.reload import Reloader, addresses_of, socket_keys, workers_of
from balancer.control.worker_registry import WorkerRegistry
from balancer.daemon.child import BEAT, begin
from balancer.daemon.descriptors import too_few
from balancer.daemon.logs import start_logs
from balancer.daemon.supervisor_client import SupervisorClient
from balancer.errors import ConfigError, InUse, Refused
from balancer.ipc.channel import Channel
from balancer.pool.tracing import Passes
from balancer.proxy.accesslog import check_target
from balancer.store.health_file import HealthFile
from balancer.store.journal import Journal
from balancer.store.memory_file import MemoryFile

logger = logging.getLogger("balancer")

T = TypeVar("T")
U = TypeVar("U")

PATIENCE = 30.0
"""Seconds for the workers to come at the start, before the daemon says it is ready without all of them."""
TAKEOVER = 2.0
"""Seconds for which the start waits for what another daemon still holds."""
KEEP_EVERY = 0.5
"""Seconds between two times that what was counted is put where it outlives us."""


class Control:
    """The process. ``memory`` and ``counted`` are files of the supervisor, ``path`` is the configuration."""

    def __init__(self, channel: Channel, memory: int, counted: int, path: Path) -> None:
        self._channel = channel
        self._supervisor = SupervisorClient(channel)
        self._memory = MemoryFile(memory)
        self._counted = MemoryFile(counted)
        self._path = path
        self._life = Life()
        self._links: list[tuple[socket.socket, int, int]] = []
        """Workers that have come before we were ready for them."""
        self._told = ""
        self._registry: WorkerRegistry | None = None
        self._reloader: Reloader | None = None
        self._informed = trio.Event()
        """Set when the supervisor has said which processes there are."""
        self._serving = trio.Event()
        """Set when there is somebody to reload."""

    async def run(self) -> None:
        """Run until the supervisor ends us, or is gone and no worker is left. Raises ``Refused`` at a bad start."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._obey)
            nursery.start_soon(self._beat)
            active, folder = await self._begin()
            journal = await _patiently(partial(_soon, Journal, Path(folder)))
            try:
                await self._serve(active, journal)
            finally:
                if active.config.state_dir is None:
                    shutil.rmtree(folder, ignore_errors=True)

    async def _begin(self) -> tuple[ActiveConfig, str]:
        """The configuration in force, from before or from the file, and the folder of the state."""
        remembered = active_config.load(self._memory.load())
        if remembered is not None:
            active, folder, self._life.started = remembered.active, remembered.folder, remembered.started
            start_logs(os.environ, active.level, active.config.log.format)
            return await self._resumed(active), folder
        report = check(self._path, time.time())
        if report.config is None:
            raise ConfigError(report.problems)
        config = report.config
        start_logs(os.environ, config.log.level, config.log.format)
        for warning in report.warnings:
            logger.warning("%s", warning)
        check_target(config.log.access)
        folder = str(config.state_dir) if config.state_dir is not None else tempfile.mkdtemp(prefix="balancer-")
        certificates, backend_tls = read_certificates(config), read_backend_certificates(config)
        workers = workers_of(config)
        bound = await _patiently(lambda: self._supervisor.want(addresses_of(config), workers))
        sockets = await self._supervisor.commit(config)
        _warn_of_descriptors(config)
        active = ActiveConfig(
            1, time.time(), config, certificates, backend_tls, socket_keys(config), bound, sockets, config.log.level
        )
        return active, folder

    async def _resumed(self, active: ActiveConfig) -> ActiveConfig:
        """What was in force, with its sockets: a process that died in the middle of a reload may have left others."""
        try:
            bound = await self._supervisor.want(addresses_of(active.config), workers_of(active.config))
        except Refused as error:
            logger.error("not all is as it was: %s", error)
            return active
        return replace(active, bound=bound, sockets=await self._supervisor.commit(active.config))

    async def _serve(self, active: ActiveConfig, journal: Journal) -> None:
        config = active.config
        controller = PlacementController(config, journal)
        saved = saved_counters.load(self._counted.load())
        former = {(each.number, each.pid): each.counters for each in saved.workers}
        registry = self._registry = WorkerRegistry(controller, active, former)
        controller.in_force, controller.publish = registry.settled, registry.publish
        evictions = Evictions(
            controller,
            registry.end,
            trio.current_time,
            drain=config.timeouts.drain,
            spread=config.timeouts.close_spread,
        )
        saved_counters.restore(saved, controller, evictions)
        prober = Prober(controller, HealthFile(journal.folder), Random())
        plans = Plans(controller)

        def keep_counted() -> None:
            self._counted.save(saved_counters.dump(registry, controller, evictions))

        def keep(active: ActiveConfig) -> None:
            self._memory.save(active_config.dump(Remembered(active, str(journal.folder), self._life.started)))

        async def announce(before: Mapping[str, tuple[str, ...]]) -> None:
            await registry.settled()
            self._tell_listeners(registry, registry.active, before)

        def prepare(old: Config, new: Config) -> tuple[Callable[[], None], Callable[[], None]]:
            check_target(new.log.access)
            listeners = api.prepare_listeners(new.admin)

            def put_in_force() -> None:
                api.change_listeners(listeners)
                nursery.start_soon(announce, registry.active.keys)
                evictions.drain, evictions.spread = new.timeouts.drain, new.timeouts.close_spread
                if new.log != old.log:
                    start_logs(os.environ, new.log.level, new.log.format)
                if new.limits != old.limits or new.workers != old.workers:
                    _warn_of_descriptors(new)

            return put_in_force, partial(api.close_unused, listeners)

        reloader = Reloader(self._path, controller, plans, registry, self._supervisor, prepare, keep)
        services = Services(
            controller,
            evictions,
            plans,
            Passes(controller.secret),
            registry,
            reloader,
            trio.current_time,
            partial(daemon_gauges, self._life, registry),
            keep_counted,
        )
        api = AdminApi(services)
        listeners = await _patiently(partial(_soon, open_listeners, config.admin))
        keep(active)
        async with trio.open_nursery() as nursery:
            for link in self._links:
                nursery.start_soon(registry.attend, *link)
            self._links = []
            self._reloader = reloader
            nursery.start_soon(controller.run)
            nursery.start_soon(evictions.run)
            nursery.start_soon(registry.run)
            await nursery.start(api.run, listeners)
            nursery.start_soon(_regularly, keep_counted)
            await nursery.start(prober.run)
            await self._informed.wait()
            await registry.gathered()
            registry.ready.set()
            self._serving.set()
            nursery.start_soon(self._say_ready, registry)
            nursery.start_soon(reloader.watch_certificates)
            gc.collect()
            gc.freeze()

    async def _obey(self) -> None:
        while (message := await self._channel.receive()) is not None:
            match message.kind:
                case "granted" | "refused" | "committed":
                    self._supervisor.answered(message.fields)
                case "link":
                    link = socket.socket(fileno=message.fds[0]), message.fields["worker"], message.fields["pid"]
                    if self._registry is None:
                        self._links.append(link)
                    else:
                        self._nursery.start_soon(self._registry.attend, *link)
                case "processes":
                    self._note_processes(message.fields["processes"])
                case "reload":
                    self._nursery.start_soon(self._reload)
                case "drain":
                    self._life.draining = True
                    if self._registry is not None:
                        await self._registry.refresh()
                    await self._tell()
                    await self._supervisor.say("counted")
                case "stop":
                    break
        self._supervisor.lost()
        self._nursery.cancel_scope.cancel()

    def _note_processes(self, processes: list[dict[str, Any]]) -> None:
        before = {each["name"]: each for each in self._life.processes}
        for process in processes if before else ():
            name, pid, former = process["name"], process["pid"], before.get(process["name"])
            if self._registry is not None and name != "control" and pid != (former["pid"] if former else None):
                said = f"{name} has started (pid {pid})" if pid else f"{name} has ended: {process['last_end']}"
                self._registry.controller.events.emit("worker", said, **process)
        self._life.processes = processes
        self._informed.set()

    async def _reload(self) -> None:
        await self._serving.wait()
        assert self._reloader is not None
        with suppress(ConfigError, Refused):  # it has been logged, and is kept for whoever asks
            await self._reloader.reload("SIGHUP")

    async def _say_ready(self, registry: WorkerRegistry) -> None:
        """Once the workers accept."""
        await registry.complete(workers_of(registry.active.config), PATIENCE)
        self._tell_listeners(registry, registry.active, {})
        await self._tell()
        await self._supervisor.say("ready")

    def _tell_listeners(
        self, registry: WorkerRegistry, active: ActiveConfig, before: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Let people know of addresses that are served now, and were not with the keys of ``before``, and of those that
        are not served any more.
        """
        served = {key for keys in active.keys.values() for key in keys}
        for name, keys in before.items():
            for key in keys:
                if key not in served:
                    logger.info('listener "%s" accepts no more on %s', name, key, extra={"listener": name})
                    said = f"listener {name} accepts no more on {key}"
                    registry.controller.events.emit("listener", said, listener=name, address=key, accepts=False)
        for listener in active.config.listener:
            for key in active.keys[listener.name]:
                for address in active.bound[key] if key not in before.get(listener.name, ()) else ():
                    about = {"listener": listener.name}
                    logger.info('listener "%s" accepts on %s', listener.name, address, extra=about)
                    said = f"listener {listener.name} accepts on {address}"
                    registry.controller.events.emit(
                        "listener", said, listener=listener.name, address=address, accepts=True
                    )

    async def _beat(self) -> None:
        """Tell the supervisor that we live."""
        while True:
            await self._channel.send("beat")
            await self._tell()
            await trio.sleep(BEAT)

    async def _tell(self) -> None:
        """What the supervisor tells the service manager, if it is another than before."""
        gauges = self._registry.gauges if self._registry is not None else {}
        status = f"connections: {gauges.get('sessions', 0)}, tunnels: {gauges.get('tunnels', 0)}"
        if status != self._told:
            self._told = status
            await self._channel.send("status", status=status)


async def _regularly(keep: Callable[[], None]) -> None:
    while True:
        await trio.sleep(KEEP_EVERY)
        keep()


def _warn_of_descriptors(config: Config) -> None:
    warning = too_few(config.limits.max_connections, workers_of(config))
    if warning:
        logger.warning("%s", warning)


async def _patiently(get: Callable[[], Awaitable[T]]) -> T:
    """Have what is in use by another daemon: one that was killed a moment ago leaves it within ``TAKEOVER`` seconds."""
    until = trio.current_time() + TAKEOVER
    while True:
        try:
            return await get()
        except InUse:
            if trio.current_time() > until:
                raise
        await trio.sleep(TAKEOVER / 20)


async def _soon(get: Callable[[U], T], what: U) -> T:
    await trio.lowlevel.checkpoint()
    return get(what)


def main() -> int:
    """Of ``balancer.daemon.start``; the words are CHANNEL MEMORY COUNTED CONFIG."""
    begin()
    channel, memory, counted = map(int, sys.argv[1:4])
    try:
        trio.run(Control(Channel(socket.socket(fileno=channel)), memory, counted, Path(sys.argv[4])).run)
    except BaseExceptionGroup as group:
        said, rest = group.split((ConfigError, Refused))
        if rest is not None:
            raise rest from None
        for error in said.exceptions if said is not None else ():
            print(error, file=sys.stderr)
        return 1
    return 0
