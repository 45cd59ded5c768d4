"""The `balancer` command: its parser, and what every verb has in common."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path

_EXIT_CODES = "exit codes: 0 done; 1 the answer is no or the input is wrong; 2 usage; 3 the daemon cannot be reached"
_VERBS = {
    "check": "check",
    "demo": "demo",
    "import": "import_",
    "status": "status",
    "top": "top",
    "events": "events",
    "sessions": "sessions",
    "certificates": "sessions",
    "backend": "backend",
    "pin": "pins",
    "unpin": "pins",
    "pins": "pins",
    "ring": "ring",
    "reload": "reload",
    "log-level": "log_level",
}
"""The module of each verb, which has ``add(verbs)`` to add its parsers; each parser sets ``run``, a function of the
arguments that returns the exit code."""


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
        args = _parser(sys.argv[1:]).parse_args()
        code: int = args.run(args)
        return code
    finally:
        sys.stdout.flush()


def _parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Good for the command line ``words``, and for any other if there are none."""
    parser = argparse.ArgumentParser(
        prog="balancer",
        description="A TLS-terminating load balancer that keeps every user on one host.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"balancer {version('balancer')}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="run the daemon with this configuration")
    parser.set_defaults(run=partial(_serve, parser))
    verbs = parser.add_subparsers(metavar="VERB")
    # To read all modules takes half a second, which neither the daemon nor whoever asks it something need wait for.
    match words:
        case ["--config", _]:
            modules: Iterable[str] = ()
        case [verb, *_] | ["--config", _, verb, *_] if verb in _VERBS:
            modules = (_VERBS[verb],)
        case _:
            modules = dict.fromkeys(_VERBS.values())
            import_module("balancer.cli.completion").add(verbs, parser)
    for module in modules:
        import_module(f"balancer.cli.{module}").add(verbs)
    return parser


def _serve(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.config is None:
        parser.error("give --config FILE to run the daemon, or a verb")
    code: int = import_module("balancer.daemon.main").run(args.config)
    return code
