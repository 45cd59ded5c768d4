"""Run a module so that it ends with whoever started it.

``python -m balancer.demo.leash MODULE ARGUMENTS…`` is ``python -m MODULE ARGUMENTS…`` that sends itself SIGTERM once
its standard input ends. The starter holds the other end of that pipe: the kernel closes it however the starter dies,
kill -9 included, and no process has to watch another.
"""

import os
import runpy
import signal
import sys
import threading


def _wait_for_the_end() -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread inside its lock would break the interpreter's shutdown
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    threading.Thread(target=_wait_for_the_end, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
