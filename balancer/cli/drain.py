"""`balancer drain`: have the balancer in front of the daemon send new clients elsewhere, while everything goes on."""

import argparse

from balancer.cli.live import add_verb, daemon


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    about = "ask for no new clients: /readyz says so, and everything else goes on; lasts until the daemon ends"
    parser = add_verb(verbs, "drain", _drain, about, of_pool=False)
    parser.add_argument("--cancel", action="store_true", help="take new clients again")


def _drain(args: argparse.Namespace) -> str:
    daemon(args).ask("PUT", "/v1/drain", {"drain": not args.cancel})
    if args.cancel:
        return "the daemon takes new clients again: /readyz no longer asks for a drain"
    return (
        "the daemon asks for no new clients: /readyz answers with Balancer-Health: drain; "
        "it goes on to accept and serve those who come\nto undo: balancer drain --cancel"
    )
