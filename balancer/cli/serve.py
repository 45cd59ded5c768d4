"""`balancer --config FILE`: the daemon itself, in the foreground."""

import argparse
from pathlib import Path

from balancer.daemon.main import run


def add(parser: argparse.ArgumentParser) -> None:
    """What the command does without a verb."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="run the daemon with this configuration")
    parser.set_defaults(run=lambda args: _run(parser, args))


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.config is None:
        parser.error("give --config FILE to run the daemon, or a verb")
    return run(args.config)
