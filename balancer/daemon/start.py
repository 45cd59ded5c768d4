"""Where a child process begins: ``python -m balancer.daemon.start MODULE WORDS`` calls ``main`` of that module.

What modules make while they are read, they keep: the garbage collector finds nothing among it, and looking through it
again and again takes a fifth of the time until the process is of use.
"""

import gc
import sys
from importlib import import_module

if __name__ == "__main__":
    gc.disable()
    module = import_module(sys.argv.pop(1))
    gc.freeze()
    gc.enable()
    raise SystemExit(module.main())
