"""`balancer log-level`: show or change the log level of the running daemon."""

import argparse

from balancer.cli.live import add_verb, as_json, daemon

_LEVELS = ("debug", "info", "warning", "error")


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    about = "show or change the log level; a change lasts until the daemon ends"
    parser = add_verb(verbs, "log-level", _log_level, about, reads=True, of_pool=False)
    parser.add_argument("level", nargs="?", choices=_LEVELS, help="write messages of this level and above")


def _log_level(args: argparse.Namespace) -> str:
    client = daemon(args)
    if args.level is None:
        found = client.ask("GET", "/v1/log-level")
    else:
        found = client.ask("PUT", "/v1/log-level", {"level": args.level})
    return as_json(found) if args.json else f"the log level is {found['level']}"
