"""The daemon: ``balancer --config FILE`` is its supervisor.

Signals: SIGTERM, SIGINT and SIGQUIT drain (stop accepting, finish requests, keep tunnels until ``timeouts.drain``) and
then exit 0; a second one ends everything at once. SIGHUP reloads, SIGUSR1 reopens the access log, SIGUSR2 upgrades to
the current release. Others do nothing.
"""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import trio

from balancer.daemon.descriptors import raise_limit
from balancer.daemon.logs import start_logs
from balancer.daemon.signals import HANDLED, STOPS, ignore_signals
from balancer.daemon.stderr import keep_stderr_from_blocking, open_standard_streams
from balancer.daemon.supervisor import Supervisor
from balancer.daemon.systemd import Manager, handed_sockets
from balancer.upgrade.state import load

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
    # Blocked until they are received: a signal must not be lost while trio starts.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    with closing(Manager(os.environ)) as manager:
        return _run(partial(Supervisor, config_path, handed, manager, discard_newer=discard_newer))


def take_over(data: bytes, adopted: Callable[[], None]) -> int:
    """Go on as the version before has handed over, in the same process; return the exit status of the daemon.

    ``daemon.shim`` of that version calls this, so it must stay as it is. Until ``adopted`` is called, any failure makes
    the other version go on.
    """
    state = load(data)
    keep_stderr_from_blocking()
    start_logs(os.environ, state.log_level, state.log_format)

    made = False

    def supervisor() -> Supervisor:
        nonlocal made
        supervisor = Supervisor(Path(state.config), [], manager, former=state)
        adopted()
        made = True
        return supervisor

    with closing(Manager(dict(state.manager))) as manager:
        status = _run(supervisor)
    if not made:
        raise RuntimeError("its supervisor could not start")
    return status


def _run(make: Callable[[], Supervisor]) -> int:
    """Run a supervisor, which is made inside of trio; return the exit status."""
    try:
        status = trio.run(_supervise, make)
    except Exception as error:
        logger.exception("the supervisor has failed; workers drain and end by themselves")
        logger.error("the daemon has ended: %s in the supervisor, see above", _cause(error))
        status = 1
    ignore_signals()  # another signal must not spoil a clean exit
    return status


async def _supervise(make: Callable[[], Supervisor]) -> int:
    with trio.open_signal_receiver(*HANDLED) as signals:
        try:
            supervisor = make()
        except OSError as error:
            logger.error("the daemon cannot start: %s; see `ulimit -a` and the limits of the service", error.strerror)
            return 1
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
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
