"""The daemon: load the configuration, open the listeners, serve until told to stop, drain, exit.

Signals: SIGTERM and SIGINT drain (stop accepting, finish requests, keep tunnels until ``timeouts.drain``) and then exit
0; a second one ends everything at once.
"""

import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

import trio

from balancer.config.load import check
from balancer.config.model import Config
from balancer.config.scalars import Address
from balancer.control.api import serve_admin
from balancer.control.doors import Door, open_doors
from balancer.control.journal import Journal
from balancer.daemon.logs import start_logs
from balancer.daemon.service import Service, assemble
from balancer.daemon.sockets import open_sockets
from balancer.daemon.systemd import Manager, handed_sockets
from balancer.errors import Refused
from balancer.net.contexts import unraisable
from balancer.net.engine import Engine
from balancer.net.listen import Acceptor
from balancer.proxy.accesslog import AccessLog
from balancer.proxy.client import handler
from balancer.proxy.plane import Plane

logger = logging.getLogger("balancer")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GOODBYE = 2.0
"""Seconds for which closing connections may say goodbye once the drain is over."""


def run(config_path: Path) -> int:
    """Run the daemon in the foreground; the exit code."""
    report = check(config_path, time.time())
    config = report.config
    if config is None:
        for problem in report.problems:
            print(problem, file=sys.stderr)
        return 1
    start_logs(config.log, os.environ)
    for warning in report.warnings:
        logger.warning("%s", warning)
    handed = handed_sockets(os.environ)
    try:
        journal = Journal(config.state_dir) if config.state_dir is not None else None
        sockets = open_sockets(config, handed)
        log = AccessLog(config.log.access)
        doors = open_doors(config.admin)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{config_path}: {error.strerror}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
    sys.unraisablehook = unraisable
    _on_signals(_leave)
    with closing(Manager(os.environ)) as manager:
        # Held back until somebody receives them: one that comes while trio starts must not be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        trio.run(_main, config, journal, sockets, doors, log, manager)
    _on_signals(signal.SIG_IGN)  # one more must not turn a clean end into another
    return 0


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _leave(*_: object) -> None:
    """What signals do before the daemon runs: there is nothing to drain. At its very end they come too late to matter.

    Inside trio an exception could strike trio itself.
    """
    if not trio.lowlevel.in_trio_run():
        raise SystemExit(0)


async def _main(
    config: Config,
    journal: Journal | None,
    sockets: list[list[socket.socket]],
    doors: list[Door],
    log: AccessLog,
    manager: Manager,
) -> None:
    with trio.open_signal_receiver(*SIGNALS) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        async with trio.open_nursery() as logging_nursery:
            logging_nursery.start_soon(log.run)
            async with trio.open_nursery() as nursery:
                engine = Engine()
                await nursery.start(engine.run)
                service = assemble(config, journal, engine, log)
                plane = service.plane
                nursery.start_soon(_housekeeping, plane)
                nursery.start_soon(manager.beat, plane)
                nursery.start_soon(service.operators.keeper.run)
                nursery.start_soon(service.operators.movers.run)
                if doors:
                    await nursery.start(serve_admin, service.operators, doors)
                nursery.start_soon(_serve, service, sockets, manager)
                await _drain(plane, signals, manager)
                plane.release()
                nursery.cancel_scope.cancel()
            await service.offload.close()
            logging_nursery.cancel_scope.cancel()


async def _serve(service: Service, sockets: list[list[socket.socket]], manager: Manager) -> None:
    """Let clients in once it is known which backends are up."""
    async with trio.open_nursery() as nursery:
        await nursery.start(service.prober.run)
        if not service.plane.draining:
            _accept(service, sockets)
            manager.tell(service.plane)
        # What exists now lives as long as the process: no collection need look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10000, 20, 20)


def _accept(service: Service, sockets: list[list[socket.socket]]) -> None:
    events = service.operators.keeper.events
    for front, opened in zip(service.fronts, sockets, strict=True):
        handle = handler(service.plane, front)
        gate = service.plane.gate
        crowded = (gate.handshakes,) if front.tls is not None else ()
        for sock in opened:
            Acceptor(gate, front.room, sock, handle, crowded).start()
            address = Address(*sock.getsockname()[:2])
            about = {"listener": front.config.name}
            logger.info('listener "%s" accepts on %s', front.config.name, address, extra=about)
            said = f"listener {front.config.name} accepts on {address}"
            events.emit("listener", said, listener=front.config.name, address=str(address), accepts=True)


async def _drain(plane: Plane, signals: AsyncIterator[int], manager: Manager) -> None:
    """Wait for a signal, then until every connection has ended, its time is up, or a second signal comes."""
    number = await anext(signals)
    plane.drain()
    logger.info(
        "%s: no new connections; %d open ones may take %g s to finish",
        signal.Signals(number).name,
        len(plane.sessions),
        plane.timeouts.drain,
    )
    manager.tell(plane)

    async with trio.open_nursery() as nursery:

        async def second_signal() -> None:
            await anext(signals)
            logger.info("second signal: closing what is still open")
            plane.close()
            nursery.cancel_scope.cancel()

        nursery.start_soon(second_signal)
        with trio.move_on_after(plane.timeouts.drain):
            await plane.empty.wait()
        plane.close()
        with trio.move_on_after(GOODBYE):
            await plane.empty.wait()
        nursery.cancel_scope.cancel()


async def _housekeeping(plane: Plane) -> None:
    while True:
        await trio.sleep(1)
        plane.tidy()
