"""The `balancer` command: the parser of all verbs, output and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from balancer.cli import (
    backend,
    completion,
    config,
    drain,
    events,
    files,
    log_level,
    pins,
    reload,
    ring,
    sessions,
    status,
    top,
    upgrade,
)
from balancer.cli.late import late
from balancer.shared.compiled import build

_EXIT_CODES = (
    "exit codes: 0 success; 1 refused, invalid input, or a failed check; 2 wrong usage; 3 cannot reach the daemon"
)
_VERBS = (files, status, top, events, sessions, drain, backend, pins, ring, config, reload, upgrade, log_level)
"""The modules of the verbs: ``add`` of each adds its parsers, which set ``run``, a function that takes the parsed
arguments and returns the exit code. None of these modules imports anything large: see ``balancer.cli.late``."""


def main() -> int:
    """Run the console script and return the exit code."""
    # Messages quote file names and file contents: bytes the terminal's encoding lacks are escaped instead of raising.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run()
    except BrokenPipeError:  # the reader closed the pipe, as in `balancer check ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run() -> int:
    try:
        parser = _parser()
        args, unknown = parser.parse_known_args()
        if unknown:
            _innermost(parser, sys.argv[1:]).error(f"unrecognized arguments: {' '.join(unknown)}")
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
    parser.add_argument("--version", action=_PrintVersion)
    parser.add_argument("--config", type=Path, metavar="FILE", help="run the daemon with this configuration")
    parser.add_argument(
        "--discard-newer",
        action="store_true",
        help="start in spite of changes that a newer version has written to state_dir: forget them, and keep a copy",
    )
    parser.set_defaults(run=partial(_serve, parser))
    verbs = parser.add_subparsers(metavar="VERB")
    for module in _VERBS:
        module.add(verbs)
    completion.add(verbs, parser)
    return parser


class _PrintVersion(argparse.Action):
    """argparse's own would have to be given the version, which takes long to find, at every start."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show program's version number and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"balancer {import_module('importlib.metadata').version('balancer')} ({build()})")
        parser.exit()


def _innermost(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the verb, or of its own verb, that the words name: its usage is the one that helps."""
    for word in words:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction) and word in action.choices:
                parser = action.choices[word]
                break
    return parser


def _serve(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.config is None:
        parser.error("expected --config FILE to run the daemon, or a verb")
    code: int = late("daemon.main:run")(args.config, discard_newer=args.discard_newer)
    return code
