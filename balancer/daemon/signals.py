"""What signals mean to the processes of the daemon: the supervisor handles some, all others do nothing.

Faults and aborts keep their meaning, so that core dumps are made; SIGKILL and SIGSTOP cannot be changed. SIGCHLD has to
stay as it is, because the kernel would otherwise reap the children before their status is known (wait(2)).
"""

import signal

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals that stop the daemon."""
HANDLED = (*STOPS, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that the supervisor handles."""
_KEPT = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGCHLD,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGKILL,
    signal.SIGSEGV,
    signal.SIGSTOP,
    signal.SIGSYS,
    signal.SIGTRAP,
}


def ignore_signals() -> None:
    """Ignore all signals but faults in this process, until a handler is set, and in those it starts."""
    for number in signal.valid_signals() - _KEPT:
        signal.signal(number, signal.SIG_IGN)
