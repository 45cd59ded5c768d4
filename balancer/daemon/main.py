"""The daemon: ``balancer --config FILE`` is its supervisor.

Signals: SIGTERM and SIGINT drain (stop accepting, finish requests, keep tunnels until ``timeouts.drain``) and then exit
0; a second one ends everything at once. SIGHUP reloads.
"""

import logging
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
from balancer.daemon.stderr import keep_stderr_from_blocking, open_standard_streams
from balancer.daemon.supervisor import Supervisor
from balancer.daemon.systemd import Manager, handed_sockets

logger = logging.getLogger("balancer")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(config_path: Path, *, discard_newer: bool = False) -> int:
    """Run the daemon in the foreground; return its exit status."""
    open_standard_streams()
    keep_stderr_from_blocking()
    start_logs(os.environ)
    raise_limit()
    handed = handed_sockets(os.environ)
    _on_signals(_leave)
    with closing(Manager(os.environ)) as manager:
        # Blocked until they are received: a signal must not be lost while trio starts.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        status = trio.run(_supervise, config_path, discard_newer, handed, manager)
    _on_signals(signal.SIG_IGN)  # another signal must not spoil a clean exit
    return status


async def _supervise(config_path: Path, discard_newer: bool, handed: list[socket.socket], manager: Manager) -> int:
    with trio.open_signal_receiver(*SIGNALS) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            supervisor = Supervisor(config_path, handed, manager, discard_newer=discard_newer)
        except OSError as error:
            logger.error("the daemon cannot start: %s; see `ulimit -a` and the limits of the service", error.strerror)
            return 1
        return await supervisor.run(signals)


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _leave(*_: object) -> None:
    """End the process at a signal before the daemon runs: there is nothing to drain.

    Inside trio, which is about to end then, an exception could strike trio itself.
    """
    if not trio.lowlevel.in_trio_run():
        raise SystemExit(0)
