"""The `balancer` command: the parser of all verbs, output and exit codes."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path

_EXIT_CODES = (
    "exit codes: 0 success; 1 refused, invalid input, or a failed check; 2 wrong usage; 3 cannot reach the daemon"
)
_VERBS = {
    "check": "check",
    "demo": "demo",
    "import": "import_",
    "status": "status",
    "top": "top",
    "events": "events",
    "sessions": "sessions",
    "drain": "drain",
    "certificates": "sessions",
    "backend": "backend",
    "pin": "pins",
    "unpin": "pins",
    "pins": "pins",
    "ring": "ring",
    "config": "config",
    "reload": "reload",
    "log-level": "log_level",
}
"""The module of each verb. Its ``add(verbs)`` adds the verb's parsers, and each parser sets ``run``, a function that
takes the parsed arguments and returns the exit code."""


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
        parser = _parser(sys.argv[1:])
        args, unknown = parser.parse_known_args()
        if unknown:
            _innermost(parser, sys.argv[1:]).error(f"unrecognized arguments: {' '.join(unknown)}")
        code: int = args.run(args)
        return code
    finally:
        sys.stdout.flush()


def _parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A parser of this command line, or, without ``arguments``, of any."""
    parser = argparse.ArgumentParser(
        prog="balancer",
        description="A TLS-terminating load balancer that keeps every user on one host.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"balancer {version('balancer')}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="run the daemon with this configuration")
    parser.add_argument(
        "--discard-newer",
        action="store_true",
        help="start in spite of changes that a newer version has written to state_dir: forget them, and keep a copy",
    )
    parser.set_defaults(run=partial(_serve, parser))
    verbs = parser.add_subparsers(metavar="VERB")
    # Importing the modules of all verbs takes half a second: import only the one that is needed.
    match arguments:
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
    code: int = import_module("balancer.daemon.main").run(args.config, discard_newer=args.discard_newer)
    return code
