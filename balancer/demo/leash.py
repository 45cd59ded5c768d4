"""Run a module that ends when its parent process ends.

``python -m balancer.demo.leash MODULE ARGUMENTS…`` is ``python -m MODULE ARGUMENTS…`` that sends itself SIGTERM at the
end of its standard input. The parent holds the other end of that pipe, which the kernel closes however the parent ends,
kill -9 included.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread that holds its lock would break the interpreter's shutdown
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
