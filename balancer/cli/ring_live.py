"""`balancer ring`, on the running daemon: explanations, plans and what becomes of them, the journal, strays, passes."""

import argparse
import sys
import time
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from balancer.cli.client import Client
from balancer.cli.live import (
    add_verb,
    argument,
    as_json,
    daemon,
    pool_names,
    pool_path,
    read_text_token,
)
from balancer.cli.tables import count, moment, parse_moment, parse_rate, table
from balancer.config.load import load
from balancer.config.scalars import parse_duration
from balancer.errors import Refused
from balancer.overlay.describe import words
from balancer.overlay.overlay import Change

_change: TypeAdapter[Change] = TypeAdapter(Change)
_LOOK = 0.5
"""Seconds between two looks at how far settling is."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that need a daemon to those of `balancer ring`."""
    parser = add_verb(verbs, "apply", _apply, "make the changes of a plan, if nothing has changed since", of_pool=False)
    parser.add_argument("plan", metavar="PLAN", help="the id that `balancer ring plan` has printed")
    parser = add_verb(verbs, "log", _log, "the journal: who changed what, and when", reads=True)
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="newest entries to show (%(default)s)")
    parser.add_argument(
        "--at",
        type=argument(parse_moment),
        metavar="TIME",
        help='with --token: where it belonged then; "2026-11-22T14:05", or how long ago: "2h"',
    )
    parser.add_argument("--token", metavar="TOKEN", help="as it stands in the URL; - reads it from standard input")
    parser = add_verb(verbs, "strays", _strays, "connected users who are not where they belong", reads=True)
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="strays to list (%(default)s)")
    parser = add_verb(verbs, "settle", _settle, "send strays home at a pace; Ctrl-C stops it")
    parser.add_argument("--rate", required=True, type=argument(parse_rate), metavar="5/s", help="how many users")
    parser = add_verb(
        verbs, "trace", _trace, "a header that makes the daemon tell a client why it is where it is", of_pool=False
    )
    parser.add_argument(
        "--for", dest="seconds", type=argument(parse_duration), default=3600.0, metavar="1h", help="how long it is good"
    )


def explain(client: Client, args: argparse.Namespace) -> str:
    """Where a token goes now."""
    return _explanation(client, args, {"token": read_text_token(args.token)})


def show(client: Client, args: argparse.Namespace) -> str:
    """The rings in force."""
    paths = [f"/v1/pools/{quote(name, safe='')}/ring" for name in pool_names(client, args.pool)]
    if args.json:
        return as_json([client.ask("GET", path) for path in paths])
    return "\n\n".join(client.text("GET", path).rstrip("\n") for path in paths)


def plan(client: Client, args: argparse.Namespace) -> tuple[str, str | None]:
    """A plan, and its picture if one is asked for."""
    path = pool_path(client, args)
    made = client.ask(
        "POST", f"{path}/plan", {"changes": args.changes} if args.changes else {"to": _target(path, args)}
    )
    path = f"/v1/plans/{made['id']}"
    text = as_json(made) if args.json else client.text("GET", path).rstrip("\n")
    return text, client.text("GET", path, accept="image/svg+xml") if args.svg else None


def _target(path: str, args: argparse.Namespace) -> dict[str, object]:
    """Ring and backends of the daemon's pool in another file."""
    name = path.rpartition("/")[2]
    pools = {quote(pool.name, safe=""): pool for pool in load(args.to, time.time()).pool}
    if name not in pools:
        raise Refused(f'{args.to} has no pool "{name}"; it has {", ".join(pools)}')
    pool = pools[name].model_dump(mode="json", exclude_none=True)
    return {"ring": pool["ring"], "backends": pool["backend"]}


def _explanation(client: Client, args: argparse.Namespace, body: dict[str, object]) -> str:
    path = f"{pool_path(client, args)}/explain"
    return as_json(client.ask("POST", path, body)) if args.json else client.text("POST", path, body).rstrip("\n")


def _apply(args: argparse.Namespace) -> str:
    made = daemon(args).ask("POST", f"/v1/plans/{quote(args.plan, safe='')}/apply")
    changes = "; ".join(map(_words, made["changes"]))
    return f"done, entry {made['seq']} of the journal: {changes}\nring {made['before']} to {made['after']}"


def _log(args: argparse.Namespace) -> str:
    client = daemon(args)
    if (args.at is None) != (args.token is None):
        raise Refused("--at TIME and --token TOKEN go together: where was this token then?")
    if args.token is not None:
        return _explanation(client, args, {"token": read_text_token(args.token), "at": args.at})
    found = client.ask("GET", f"{pool_path(client, args)}/journal?limit={args.limit}")
    if args.json:
        return as_json(found)
    if not found["kept"]:
        return "this daemon keeps no journal: give it a state_dir"
    rows = [
        [str(entry["seq"]), moment(entry["time"]), entry["who"], entry["after"], _what(entry)]
        for entry in found["entries"]
    ]
    return table(("entry", "time", "who", "ring after", "what"), rows)


def _what(entry: dict[str, Any]) -> str:
    if "config" in entry:
        return f"configuration: {count(len(entry['config']['backends']), 'backend')}"
    return "; ".join(map(_words, entry["changes"]))


def _words(change: dict[str, Any]) -> str:
    return words(_change.validate_python(change))


def _strays(args: argparse.Namespace) -> str:
    client = daemon(args)
    found = client.ask("GET", f"{pool_path(client, args)}/strays?limit={args.limit}")
    if args.json:
        return as_json(found)
    if not found["count"]:
        return f"pool {found['pool']} has no strays: every connected user is where they belong"
    rows = [[f"digest:{each['digest']}", each["place"], each["home"], str(each["tunnels"])] for each in found["strays"]]
    rest = found["count"] - len(rows)
    lines = [table(("user", "is on", "belongs on", "tunnels"), rows), *([f"  and {rest} more"] if rest else [])]
    return "\n".join([*lines, "send them home with: balancer ring settle --rate 5/s"])


def _settle(args: argparse.Namespace) -> str:
    client = daemon(args)
    path = pool_path(client, args)
    try:
        work = client.ask("POST", f"{path}/settle", {"rate": args.rate})["settling"]
        while not work["done"]:
            _progress(f"{work['moved']} of {count(work['strays'], 'stray')} sent home")
            time.sleep(_LOOK)
            work = client.ask("GET", f"{path}/strays?limit=0")["settling"]
    except KeyboardInterrupt:
        work = client.ask("DELETE", f"{path}/settle")["settling"]
        _progress("")
        return f"stopped: {work['moved']} of {count(work['strays'], 'stray')} sent home, the others stay where they are"
    _progress("")
    if not work["strays"]:
        return "there are no strays"
    left = work["strays"] - work["moved"]
    stayed = f"; {left} left by themselves or stay, their home being out of reach" if left else ""
    return f"{work['moved']} of {count(work['strays'], 'stray')} sent home{stayed}"


def _progress(text: str) -> None:
    """One line that is written over, for whoever watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _trace(args: argparse.Namespace) -> str:
    made = daemon(args).ask("POST", "/v1/trace", {"seconds": args.seconds})
    print(f"good until {moment(made['until'])}; the answer says why in X-Balancer-Decision:", file=sys.stderr)
    return f"{made['header']}: {made['value']}"
