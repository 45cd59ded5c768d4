"""`balancer config show|diff`: print the active configuration, and how the file differs from it."""

import argparse
from functools import partial

from balancer.cli.live import add_verb, as_json, daemon


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its subcommands to the command's parser."""
    own = verbs.add_parser("config", help="show the active configuration, compare it with the file").add_subparsers(
        metavar="VERB", required=True
    )
    for name, path, about in (
        ("show", "/v1/config", "print the active configuration as TOML: defaults behind a #, secrets as digests"),
        ("diff", "/v1/config/diff", "show what differs between the file and what is active"),
    ):
        add_verb(own, name, partial(_print, path), about, reads=True, of_pool=False)


def _print(path: str, args: argparse.Namespace) -> str:
    client = daemon(args)
    return as_json(client.ask("GET", path)) if args.json else client.text("GET", path).rstrip("\n")
