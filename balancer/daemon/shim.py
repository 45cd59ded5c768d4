"""Run the next version of the supervisor, or go back: this is a script, which runs in the other version's interpreter.

It is handed over by the version that was running, and imports as little as possible, so that it works in a release that
does not. Arguments are the descriptor of what is handed over and, for those who list processes, the configuration.
The next version has to provide ``balancer.daemon.main.take_over``, which calls ``adopted`` as soon as it does not
depend on us any more.
"""

import json
import os
import signal
import sys
from importlib import import_module

PATIENCE = 20
"""Seconds within which the next version has to have adopted the children."""


def main() -> None:
    """Take over, or go back."""
    me, handed = sys.argv[0], int(sys.argv[1])
    data = os.pread(handed, os.fstat(handed).st_size, 0)
    state = json.loads(data)

    def hung(*_: object) -> None:
        raise TimeoutError(f"not in charge after {PATIENCE} s")

    def adopted() -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        os.close(handed)
        os.close(int(me.rpartition("/")[2]))
        in_charge.append(True)

    in_charge: list[bool] = []
    signal.signal(signal.SIGALRM, hung)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.alarm(PATIENCE)
    try:
        status = import_module("balancer.daemon.main").take_over(data, adopted)
    except BaseException as error:
        if in_charge or state.get("back"):
            raise
        signal.alarm(0)
        state["back"] = f"it could not take over: {type(error).__name__}: {error}"
        again = os.memfd_create("balancer-upgrade", 0)
        os.write(again, json.dumps(state).encode())
        os.close(handed)
        python = state["release"]["python"]
        options = sys.orig_argv[1 : sys.orig_argv.index(me)]
        os.execve(python, [python, *options, me, str(again), state["config"]], os.environ)
    sys.exit(status)


if __name__ == "__main__":
    main()
