"""`balancer pins|pin|unpin`: bind users to a backend regardless of the ring."""

import argparse
import time
from typing import Any

from balancer.cli.live import TOKEN_HELP, add_verb, argument, as_json, daemon, digest_of, pool_path, read_text_token
from balancer.cli.tables import table
from balancer.config.local_time import format_time
from balancer.config.scalars import format_duration, parse_duration


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command's parser."""
    add_verb(verbs, "pins", _pins, "list the pins", reads=True)
    parser = add_verb(verbs, "pin", _pin, "bind a user to a backend")
    parser.add_argument("token", metavar="TOKEN", help=TOKEN_HELP)
    parser.add_argument("backend", metavar="BACKEND")
    parser.add_argument("--prefix", action="store_true", help="bind every user whose token begins with TOKEN")
    parser.add_argument(
        "--for", dest="seconds", type=argument(parse_duration), metavar="2h", help="remove the pin after this time"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="note for other operators")
    parser = add_verb(verbs, "unpin", _unpin, "remove a pin")
    parser.add_argument("token", metavar="TOKEN", help=TOKEN_HELP)
    parser.add_argument("--prefix", action="store_true", help="remove the pin of the prefix TOKEN")


def _pins(args: argparse.Namespace) -> str:
    client = daemon(args)
    found = client.ask("GET", f"{pool_path(client, args)}/pins")
    if args.json:
        return as_json(found)
    if not found["pins"]:
        return f"pool {found['pool']} has no pins"
    rows = [
        [_name(pin), pin["backend"], _end(pin), pin["author"], format_time(pin["since"]), pin["reason"]]
        for pin in found["pins"]
    ]
    return table(("user", "backend", "ends", "author", "since", "reason"), rows)


def _pin(args: argparse.Namespace) -> str:
    client = daemon(args)
    body = {
        "token": read_text_token(args.token),
        "prefix": args.prefix,
        "backend": args.backend,
        "seconds": args.seconds,
        "reason": args.reason,
    }
    made = client.ask("POST", f"{pool_path(client, args)}/pins", body)
    end = "until the pin is removed" if made["until"] is None else f"until {format_time(made['until'])}"
    users = "users with this prefix are" if args.prefix else "this user is"
    return (
        f"{users} pinned to {args.backend} {end}; open tunnels stay where they are\n"
        f"to undo: balancer unpin {_name(made)}"
    )


def _unpin(args: argparse.Namespace) -> str:
    client = daemon(args)
    digest, prefix = digest_of(client, args, args.token, prefix=args.prefix)
    query = "" if prefix is None else f"?prefix={prefix}"
    unpinned = client.ask("DELETE", f"{pool_path(client, args)}/pins/{digest}{query}")
    return f"{_name(unpinned)} is no longer pinned"


def _name(pin: dict[str, Any]) -> str:
    """In the form that `balancer unpin` takes."""
    return f"digest:{pin['digest']}" + ("" if pin["prefix"] is None else f"/{pin['prefix']}")


def _end(pin: dict[str, Any]) -> str:
    return "never" if pin["until"] is None else f"in {format_duration(pin['until'] - time.time())}"
