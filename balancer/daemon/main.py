"""The daemon: ``balancer --config FILE`` is its supervisor.

Signals: SIGTERM and SIGINT drain (stop accepting, finish requests, keep tunnels until ``timeouts.drain``) and then exit
0; a second one ends everything at once. SIGHUP reloads.
"""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

import trio

from balancer.daemon.descriptors import raise_limit
from balancer.daemon.logs import start_logs
from balancer.daemon.supervisor import Supervisor
from balancer.daemon.systemd import Manager, handed_sockets

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(config_path: Path) -> int:
    """Run the daemon in the foreground; the exit code."""
    start_logs(os.environ)
    raise_limit()
    handed = handed_sockets(os.environ)
    _on_signals(_leave)
    with closing(Manager(os.environ)) as manager:
        # Held back until somebody receives them: one that comes while trio starts must not be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        status = trio.run(_supervise, config_path, handed, manager)
    _on_signals(signal.SIG_IGN)  # one more must not turn a clean end into another
    return status


async def _supervise(config_path: Path, handed: list[socket.socket], manager: Manager) -> int:
    with trio.open_signal_receiver(*SIGNALS) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return await Supervisor(config_path, handed, manager).run(signals)


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _leave(*_: object) -> None:
    """What signals do before the daemon runs: there is nothing to drain. At its very end they come too late to matter.

    Inside trio an exception could strike trio itself.
    """
    if not trio.lowlevel.in_trio_run():
        raise SystemExit(0)
