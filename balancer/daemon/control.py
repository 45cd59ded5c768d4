"""The control process: reads the configuration, probes backends, builds rings, and tells the workers. No traffic.

At the start it reports what is wrong with the configuration and ends with 1, if something is. Killed and started again,
it goes on with the configuration that was active, with the journal and with what was known of the backends; workers
come back to it.
"""

import gc
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

import trio
from msgspec.structs import asdict

from balancer.admin.api import AdminApi
from balancer.admin.listener_set import AdminListeners
from balancer.admin.listeners import AdminListener, adopted_listener, open_listeners
from balancer.admin.services import Services
from balancer.control import active_config, saved_counters
from balancer.control.activation import Activation
from balancer.control.active_config import ActiveConfig
from balancer.control.certificate_watch import CertificateWatch
from balancer.control.certificates import check
from balancer.control.clock import Clock
from balancer.control.events import Events
from balancer.control.evictions import Evictions
from balancer.control.lifecycle import Lifecycle
from balancer.control.outlier_monitor import OutlierMonitor
from balancer.control.placement_controller import PlacementController
from balancer.control.plans import Plans
from balancer.control.pools import Pools
from balancer.control.prober import Prober
from balancer.control.reload import Reloader
from balancer.control.sockets import addresses_of, socket_keys, workers_of
from balancer.control.worker_registry import WorkerRegistry
from balancer.daemon.child import BEAT, begin
from balancer.daemon.log_reload import LogReload, check_target, warn_of_descriptors
from balancer.daemon.logs import start_logs
from balancer.daemon.supervisor_client import SupervisorClient
from balancer.errors import ConfigError, InUse, Refused
from balancer.ipc.channel import Channel
from balancer.ipc.supervision import (
    TO_CHILD,
    Answering,
    Begin,
    Counted,
    Door,
    Drain,
    HandedOver,
    HandOver,
    Heartbeat,
    LameDuck,
    LinkEnd,
    Processes,
    ProcessFacts,
    Proven,
    Ready,
    ReloadNow,
    SocketsCommitted,
    SocketsGranted,
    SocketsRefused,
    StatusText,
    Stop,
    Upgrade,
    UpgradeNow,
    Warm,
)
from balancer.ipc.wire import Unreadable
from balancer.store.health_file import HealthFile
from balancer.store.journal import Journal
from balancer.store.memory_file import MemoryFile
from balancer.upgrade.proof import prove
from balancer.upgrade.upgrader import Upgrader

logger = logging.getLogger("balancer")

T = TypeVar("T")

WORKERS_TIMEOUT = 30.0
"""Seconds to wait for the workers at the start before reporting readiness without all of them."""
TAKEOVER_TIMEOUT = 2.0
"""Seconds to wait at the start for addresses and files that another daemon still holds."""


class Control:
    """The process. ``memory`` and ``counters`` are files of the supervisor, ``path`` is the configuration."""

    def __init__(
        self, channel: Channel, memory: MemoryFile, counters: MemoryFile, path: Path, *, discard_newer: bool = False
    ) -> None:
        self._channel = channel
        self._supervisor = SupervisorClient(channel)
        self._memory = memory
        self._counters = counters
        self._path = path
        self._discard_newer = discard_newer
        self._lifecycle = Lifecycle()
        self._events = Events(time.time)
        self._links: list[tuple[socket.socket, int, int, int]] = []
        """Workers that attached before there was a registry."""
        self._status = ""
        self._registry: WorkerRegistry | None = None
        self._reloader: Reloader | None = None
        self._informed = trio.Event()
        """Set when the supervisor has reported its processes."""
        self._serving = trio.Event()
        """Set when a reload is possible."""
        self._began = trio.Event()
        """Set when no other control process serves, so that this one may."""
        self._prove: float | None = None
        """While this version is on trial: seconds for which its workers are watched."""
        self._doors: list[AdminListener] = []
        """The admin API's sockets, from the control process before."""
        self._leaving = trio.Event()
        """Set when another control process is to serve."""
        self._generation = 0
        """That of the present version of the daemon."""
        self._upgrade = Upgrade(0)
        """The last upgrade."""
        self._upgrader: Upgrader | None = None

    async def run(self) -> None:
        """Run until the supervisor stops us or is gone. Raise ``Refused`` if the daemon cannot start."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._obey)
            self._nursery.start_soon(self._beat)
            active_config.load(self._memory.load())  # what is needed for it takes long to import and to build
            await self._channel.send(Warm())
            await self._began.wait()
            active, folder = await self._begin()
            secret = active.files.secrets[0] if active.files.secrets else None
            journal = await _retry_while_in_use(partial(trio.to_thread.run_sync, Journal, Path(folder), secret))
            if not active.files.secrets:
                active = replace(active, files=replace(active.files, secrets=(journal.secret(),)))
            if self._discard_newer:
                await trio.to_thread.run_sync(journal.discard_newer)
            try:
                await self._serve(active, journal)
            finally:
                journal.close()
                if active.config.state_dir is None and not self._leaving.is_set():
                    shutil.rmtree(folder, ignore_errors=True)

    async def _begin(self) -> tuple[ActiveConfig, str]:
        """Return the active configuration, remembered or from the file, and the state directory."""
        remembered = active_config.load(self._memory.load())
        if remembered is not None:
            active, folder, lifecycle = remembered.active, remembered.folder, self._lifecycle
            lifecycle.started, lifecycle.began = remembered.started, remembered.began
            lifecycle.lame = remembered.lame
            start_logs(os.environ, active.level, active.config.log.format)
            return await self._resume(active), folder
        report = await trio.to_thread.run_sync(check, self._path, time.time())
        if report.config is None or report.files is None:
            raise ConfigError(report.problems)
        config = report.config
        start_logs(os.environ, config.log.level, config.log.format)
        for warning in report.warnings:
            logger.warning("%s", warning)
        try:
            await trio.to_thread.run_sync(check_target, config.log.access)
        except Refused as error:
            raise report.located(error) from None
        folder = str(config.state_dir) if config.state_dir is not None else tempfile.mkdtemp(prefix="balancer-")
        workers = workers_of(config)
        bound = await _retry_while_in_use(lambda: self._supervisor.want(addresses_of(config), workers))
        sockets = await self._supervisor.commit(config)
        warn_of_descriptors(config)
        keys, level = socket_keys(config), config.log.level
        active = ActiveConfig(1, time.time(), config, report.files, keys, bound, sockets, level)
        return active, folder

    async def _resume(self, active: ActiveConfig) -> ActiveConfig:
        """Return the remembered configuration with its sockets: a process that died in a reload left others."""
        try:
            bound = await self._supervisor.want(addresses_of(active.config), workers_of(active.config))
        except Refused as error:
            logger.error("some listening sockets are not as they were: %s", error)
            return active
        return replace(active, bound=bound, sockets=await self._supervisor.commit(active.config))

    async def _serve(self, active: ActiveConfig, journal: Journal) -> None:
        config, events, lifecycle, clock = active.config, self._events, self._lifecycle, Clock()
        pools = Pools(config, journal, clock)
        saved = saved_counters.load(self._counters.load())
        counted = {(each.number, each.pid): each.counters for each in saved.workers}
        registry = self._registry = WorkerRegistry(pools.states, active, journal.key, counted)
        registry.version_generation, registry.trial = self._generation, self._prove is not None
        controller = PlacementController(pools, registry, events, clock)
        evictions = Evictions(pools, registry, events, clock)
        saved_counters.restore(saved, pools.states, evictions)
        counters = saved_counters.CounterFile(self._counters, registry, pools.states, evictions)
        monitor = OutlierMonitor(pools, registry, events)
        prober = Prober(pools, registry, monitor, events, HealthFile(journal.folder), Random())
        plans = Plans(pools, controller, clock)
        activation = Activation(registry, self._memory, events, str(journal.folder), lifecycle)
        reloading = trio.Lock()
        watch = CertificateWatch(registry, activation, events, reloading)
        listeners = AdminListeners()
        reloader = Reloader(
            self._path,
            controller,
            plans,
            registry,
            self._supervisor,
            activation,
            watch,
            [LogReload(), listeners],
            events,
            reloading,
        )
        upgrader = self._upgrader = Upgrader(self._supervisor, pools, registry, lifecycle, events, reloading)
        upgrader.note(self._upgrade)
        services = Services(
            pools=pools,
            controller=controller,
            registry=registry,
            evictions=evictions,
            plans=plans,
            reloader=reloader,
            upgrader=upgrader,
            activation=activation,
            events=events,
            lifecycle=lifecycle,
            counters=counters,
            wall=clock,
        )
        first = await _retry_while_in_use(lambda: _soon(lambda: open_listeners(config.admin, self._doors)))
        for door in self._doors:
            if door not in first:
                door.close()
        if self._prove is None:  # else the version before may go on, and has to understand what is remembered
            activation.remember(active)
        async with trio.open_nursery() as operators:
            async with trio.open_nursery() as nursery:
                for link in self._links:
                    nursery.start_soon(registry.attend, *link)
                self._links = []
                self._reloader = reloader
                for service in (controller, evictions, registry, counters):
                    nursery.start_soon(service.run)
                await operators.start(AdminApi(services, listeners).run, first)
                await self._channel.send(Answering())
                await nursery.start(prober.run)
                await self._informed.wait()
                await registry.gathered()
                registry.ready.set()
                self._serving.set()
                nursery.start_soon(self._say_ready, registry, activation, watch)
                gc.collect()
                gc.freeze()
                await self._leaving.wait()
                handed = await listeners.hand_over()
                await registry.refresh()
                counters.save()
                nursery.cancel_scope.cancel()
            await self._hand_over(handed, journal)

    async def _hand_over(self, listeners: list[AdminListener], journal: Journal) -> None:
        """Let go of the state directory, and hand over the sockets of the admin API."""
        journal.close()
        doors = tuple(Door(each.wanted, each.name, each.inode) for each in listeners)
        await self._channel.send(HandedOver(doors), [each.sock.fileno() for each in listeners])
        for listener in listeners:
            listener.sock.close()

    async def _obey(self) -> None:
        """Obey the supervisor until it stops us or is gone."""
        while (received := await self._channel.receive()) is not None:
            message, fds = received
            match message:
                case SocketsGranted() | SocketsRefused() | SocketsCommitted():
                    self._supervisor.answered(message)
                case LinkEnd() if not fds:  # this process had no descriptor left; the worker asks again
                    logger.error("out of file descriptors: cannot talk to worker %d", message.worker)
                case LinkEnd():
                    link = socket.socket(fileno=fds[0]), message.worker, message.pid, message.generation
                    if self._registry is None:
                        self._links.append(link)
                    else:
                        self._nursery.start_soon(self._registry.attend, *link)
                case Processes():
                    self._generation = message.generation
                    if self._registry is not None:
                        self._registry.version_generation = message.generation
                    self._note_processes(message.processes)
                case Begin():
                    self._prove = message.prove
                    self._doors = [adopted_listener(*each) for each in zip(message.doors, fds, strict=False)]
                    self._began.set()
                case HandOver():
                    self._leaving.set()
                case UpgradeNow():
                    self._nursery.start_soon(self._upgrade_now)
                case Upgrade():
                    self._upgrade = message
                    if self._upgrader is not None:
                        self._upgrader.note(message)
                case ReloadNow():
                    self._nursery.start_soon(self._reload)
                case LameDuck():
                    self._lifecycle.lame, self._lifecycle.lame_until = True, time.monotonic() + message.seconds
                case Drain():
                    self._lifecycle.draining = True
                    if self._registry is not None:
                        patience = self._registry.active.config.timeouts.drain
                        self._lifecycle.drain_until = time.monotonic() + patience
                        await self._registry.refresh()
                    await self._report()
                    await self._channel.send(Counted())
                case Stop():
                    break
                case Unreadable():
                    logger.error("a message of the supervisor was ignored: %s", message.reason)
        self._supervisor.lost()
        self._nursery.cancel_scope.cancel()

    def _note_processes(self, processes: tuple[ProcessFacts, ...]) -> None:
        before = {each.name: each for each in self._lifecycle.processes}
        for process in processes if before else ():
            name, pid, former = process.name, process.pid, before.get(process.name)
            if self._registry is not None and name != "control" and pid != (former.pid if former else None):
                text = f"{name} has started (pid {pid})" if pid else f"{name} has ended: {process.last_end}"
                self._events.emit("worker", text, **asdict(process))
        self._lifecycle.processes = processes
        self._informed.set()

    async def _reload(self) -> None:
        await self._serving.wait()
        assert self._reloader is not None
        assert self._upgrader is not None
        await self._upgrader.over()
        with suppress(ConfigError, Refused):  # it was logged, and is kept for `status`
            await self._reloader.reload("SIGHUP")

    async def _upgrade_now(self) -> None:
        await self._serving.wait()
        assert self._upgrader is not None
        try:
            await self._upgrader.upgrade(None, "SIGUSR2", any_path=False, dry_run=False, allow_moves=False)
        except Refused as error:
            logger.error("SIGUSR2: no upgrade: %s", error)

    async def _say_ready(self, registry: WorkerRegistry, activation: Activation, watch: CertificateWatch) -> None:
        """Tell the supervisor when the workers accept; have those of earlier versions accept no more."""
        if self._prove is None:
            await registry.complete(workers_of(registry.active.config), WORKERS_TIMEOUT)
        else:
            await self._pass_trial(registry, activation, self._prove)
        activation.announce(registry.active)
        await self._report()
        await self._channel.send(Ready())
        await registry.retire()
        await watch.run()

    async def _pass_trial(self, registry: WorkerRegistry, activation: Activation, seconds: float) -> None:
        """Prove the workers, and let them accept as soon as the supervisor says that this version goes on."""
        assert self._upgrader is not None
        mine = [each for each in self._lifecycle.processes if each.generation == self._generation]
        problem = await prove(registry, len(mine), seconds)
        await registry.refresh()
        await self._report()  # the supervisor tells the service manager at once that this version serves
        await self._channel.send(Proven(problem))
        await self._upgrader.over()
        registry.trial = False
        activation.activate(await self._resume(registry.active))

    async def _beat(self) -> None:
        """Send heartbeats to the supervisor."""
        while True:
            await self._channel.send(Heartbeat())
            await self._report()
            await trio.sleep(BEAT)

    async def _report(self) -> None:
        """Send the status text for the service manager if it has changed."""
        if self._registry is None or "sessions" not in self._registry.gauges:
            return  # no worker has reported
        gauges = self._registry.gauges
        status = f"connections: {gauges['sessions']}, tunnels: {gauges['tunnels']}"
        if status != self._status:
            self._status = status
            await self._channel.send(StatusText(status))


async def _retry_while_in_use(get: Callable[[], Awaitable[T]]) -> T:
    """Call ``get`` until what it needs is free: a daemon that was just killed takes a moment to release it."""
    until = trio.current_time() + TAKEOVER_TIMEOUT
    while True:
        try:
            return await get()
        except InUse:
            if trio.current_time() > until:
                raise
        await trio.sleep(TAKEOVER_TIMEOUT / 20)


async def _soon(get: Callable[[], T]) -> T:
    await trio.lowlevel.checkpoint()
    return get()


def main() -> int:
    """Run the process for ``balancer.daemon.start``; arguments are CHANNEL MEMORY COUNTERS CONFIG [discard-newer]."""
    begin()
    channel, memory, counters = map(int, sys.argv[1:4])
    files = MemoryFile(memory), MemoryFile(counters)
    sock = socket.socket(fileno=channel)
    discard_newer = "discard-newer" in sys.argv[5:]
    control = Control(Channel(sock, TO_CHILD), *files, Path(sys.argv[4]), discard_newer=discard_newer)
    try:
        with sock:
            trio.run(control.run)
    except BaseExceptionGroup as group:
        refused, rest = group.split((ConfigError, Refused))
        if rest is not None:
            raise rest from None
        for error in refused.exceptions if refused is not None else ():
            for line in str(error).splitlines():
                logger.error(line)
        return 1
    return 0
