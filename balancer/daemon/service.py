"""The parts of the daemon put together: data plane, keeper, movers, prober, and what the admin API shows of them."""

import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from balancer.config.model import Config
from balancer.control.health_file import HealthFile
from balancer.control.journal import Journal
from balancer.control.keeper import Keeper
from balancer.control.movers import Movers
from balancer.control.offload import Offload
from balancer.control.operators import Operators
from balancer.control.plans import Plans
from balancer.control.prober import Prober
from balancer.net.engine import Closed, Engine
from balancer.pool.board import KEY_BYTES, Board, prepare, size
from balancer.pool.digest import Digest
from balancer.pool.tracing import Passes
from balancer.proxy.accesslog import AccessLog
from balancer.proxy.plane import Front, Plane, Session


@dataclass(frozen=True)
class Service:
    """The daemon while it runs."""

    plane: Plane
    fronts: tuple[Front, ...]
    """One for each listener of the configuration, in its order."""
    operators: Operators
    prober: Prober
    offload: Offload


def assemble(config: Config, journal: Journal | None, engine: Engine, log: AccessLog) -> Service:
    """Make the parts and tie them together. Raises ``Refused`` when the state cannot be kept."""
    key = journal.key if journal is not None else os.urandom(32)
    digest, passes, offload = Digest(key), Passes(key), Offload()
    keeper = Keeper(config, digest, journal, offload)
    pools = {name: book.pool for name, book in keeper.books.items()}
    plane = Plane(config, pools, engine, log, digest, passes, _board())
    fronts = tuple(plane.front(listener, number) for number, listener in enumerate(config.listener))

    def now() -> float:
        return engine.now

    movers = Movers(keeper, _ender(engine), now, drain=config.timeouts.drain, spread=config.timeouts.close_spread)
    gauges = _gauges(plane, fronts, log, time.time())
    prober = Prober(keeper, HealthFile(journal.folder) if journal is not None else None, Random())
    operators = Operators(config, keeper, movers, Plans(keeper), passes, now, gauges)
    return Service(plane, fronts, operators, prober, offload)


def _board() -> Board:
    """A board for this process alone."""
    view = memoryview(mmap.mmap(-1, size(1)))
    prepare(view, os.urandom(KEY_BYTES))
    return Board(view, 0)


def _ender(engine: Engine) -> Callable[[object, str], None]:
    def end(session: object, why: str) -> None:
        assert isinstance(session, Session)
        engine.throw(session.task, Closed(why))

    return end


def _gauges(plane: Plane, fronts: tuple[Front, ...], log: AccessLog, started: float) -> Callable[[], dict[str, Any]]:
    def gauges() -> dict[str, Any]:
        return {
            "started": started,
            "draining": plane.draining,
            "accepting": bool(plane.gate.acceptors),
            "starved": plane.gate.starved,
            "connections": plane.gate.connections.held,
            "max_connections": plane.gate.limits.max_connections,
            "refused_connections": plane.gate.refused,
            "crashes": plane.engine.crashes,
            "loop_lag": plane.engine.lag.plain(),
            "log_lines_dropped": log.dropped,
            "listeners": {
                front.config.name: {
                    "connections": front.connections,
                    "open": front.room.held,
                    "max_connections": front.config.max_connections,
                    "handshake_failures": front.handshake_failures,
                    "pool": front.pool.name,
                    "bind": [str(address) for address in front.config.bind],
                }
                for front in fronts
            },
        }

    return gauges
