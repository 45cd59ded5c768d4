"""The daemon: ``balancer --config FILE`` is its supervisor.

Signals: SIGTERM, SIGINT and SIGQUIT drain (stop accepting, finish requests, keep tunnels until ``timeouts.drain``) and
then exit 0; a second one ends everything at once. SIGHUP reloads, SIGUSR1 reopens the access log. Others do nothing.
"""

import logging
import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import trio

from balancer.daemon.descriptors import raise_limit
from balancer.daemon.logs import start_logs
from balancer.daemon.signals import HANDLED, STOPS, ignore_signals
from balancer.daemon.stderr import keep_stderr_from_blocking, open_standard_streams
from balancer.daemon.supervisor import Supervisor
from balancer.daemon.systemd import Manager, handed_sockets

logger = logging.getLogger("balancer")


def run(config_path: Path, *, discard_newer: bool = False) -> int:
    """Run the daemon in the foreground; return its exit status."""
    open_standard_streams()
    keep_stderr_from_blocking()
    start_logs(os.environ)
    raise_limit()
    handed = handed_sockets(os.environ)
    ignore_signals()
    for number in STOPS:
        signal.signal(number, _leave)
    with closing(Manager(os.environ)) as manager:
        # Blocked until they are received: a signal must not be lost while trio starts.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            status = trio.run(_supervise, config_path, discard_newer, handed, manager)
        except Exception as error:
            logger.exception("the supervisor has failed; workers drain and end by themselves")
            logger.error("the daemon has ended: %s in the supervisor, see above", _cause(error))
            status = 1
    ignore_signals()  # another signal must not spoil a clean exit
    return status


async def _supervise(config_path: Path, discard_newer: bool, handed: list[socket.socket], manager: Manager) -> int:
    with trio.open_signal_receiver(*HANDLED) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        try:
            supervisor = Supervisor(config_path, handed, manager, discard_newer=discard_newer)
        except OSError as error:
            logger.error("the daemon cannot start: %s; see `ulimit -a` and the limits of the service", error.strerror)
            return 1
        return await supervisor.run(signals)


def _cause(error: BaseException) -> str:
    """Return the first of the errors that a nursery has collected, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())


def _leave(*_: object) -> None:
    """End the process at a signal before the daemon runs: there is nothing to drain.

    Inside trio, which is about to end then, an exception could strike trio itself.
    """
    if not trio.lowlevel.in_trio_run():
        raise SystemExit(0)
