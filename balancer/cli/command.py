"""The `balancer` command: its parser, and what every verb has in common."""

import argparse
import os
import sys
from importlib.metadata import version
from io import TextIOWrapper

from balancer.cli import (
    backend,
    check,
    completion,
    demo,
    events,
    import_,
    log_level,
    pins,
    reload,
    ring,
    serve,
    sessions,
    status,
    top,
)

_EXIT_CODES = "exit codes: 0 done; 1 the answer is no or the input is wrong; 2 usage; 3 the daemon cannot be reached"
_VERBS = (check, demo, import_, status, top, events, sessions, backend, pins, ring, reload, log_level)
"""Each has ``add(verbs)``, which adds its parsers; each parser sets ``run``, a function of the arguments that
returns the exit code."""


def main() -> int:
    """The console script; the exit code is its return value."""
    # Output quotes names of and from files; what a terminal cannot show becomes an escape, not an exception.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run()
    except BrokenPipeError:  # the reader has seen enough, as in `balancer check ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run() -> int:
    try:
        args = _parser().parse_args()
        code: int = args.run(args)
        return code
    finally:
        sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balancer",
        description="A TLS-terminating load balancer that keeps every user on one host.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"balancer {version('balancer')}")
    serve.add(parser)
    verbs = parser.add_subparsers(metavar="VERB")
    for verb in _VERBS:
        verb.add(verbs)
    completion.add(verbs, parser)
    return parser
