"""`balancer ring` on the running daemon: explain, plan and apply; the journal, strays, and the trace header."""

import argparse
import sys
import time
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from balancer.cli.client import Client
from balancer.cli.live import (
    as_json,
    daemon,
    pool_names,
    pool_path,
    read_text_token,
)
from balancer.cli.tables import count, table
from balancer.config.load import load
from balancer.config.local_time import format_time
from balancer.errors import Refused
from balancer.overlay.describe import describe
from balancer.overlay.overlay import Change

_change: TypeAdapter[Change] = TypeAdapter(Change)
_POLL_INTERVAL = 0.5
"""Seconds between two requests for the progress of `ring settle`."""


def explain(client: Client, args: argparse.Namespace) -> str:
    """Ask the daemon where the token ``args.token`` is placed; return text or JSON to print."""
    return _explanation(client, args, {"token": read_text_token(args.token)})


def show(client: Client, args: argparse.Namespace) -> str:
    """Ask the daemon for the active rings; return text or JSON to print."""
    paths = [f"/v1/pools/{quote(name, safe='')}/ring" for name in pool_names(client, args.pool)]
    if args.json:
        return as_json([client.ask("GET", path) for path in paths])
    return "\n\n".join(client.text("GET", path).rstrip("\n") for path in paths)


def plan(client: Client, args: argparse.Namespace) -> tuple[str, str | None]:
    """Have the daemon plan a change; return text or JSON to print, and the picture (SVG) if ``args.svg`` is set."""
    path = pool_path(client, args)
    made = client.ask(
        "POST", f"{path}/plan", {"changes": args.changes} if args.changes else {"to": _target(path, args)}
    )
    path = f"/v1/plans/{made['id']}"
    text = as_json(made) if args.json else client.text("GET", path).rstrip("\n")
    return text, client.text("GET", path, accept="image/svg+xml") if args.svg else None


def _target(path: str, args: argparse.Namespace) -> dict[str, object]:
    """Ring and backends of the pool as the file ``args.to`` has them."""
    name = path.rpartition("/")[2]
    pools = {quote(pool.name, safe=""): pool for pool in load(args.to, time.time()).pool}
    if name not in pools:
        raise Refused(f'{args.to} has no pool "{name}"; it has {", ".join(pools)}')
    pool = pools[name].model_dump(mode="json", exclude_none=True)
    return {"ring": pool["ring"], "backends": pool["backend"]}


def _explanation(client: Client, args: argparse.Namespace, body: dict[str, object]) -> str:
    path = f"{pool_path(client, args)}/explain"
    return as_json(client.ask("POST", path, body)) if args.json else client.text("POST", path, body).rstrip("\n")


def apply(args: argparse.Namespace) -> str:
    """Apply the plan ``args.plan``."""
    made = daemon(args).ask("POST", f"/v1/plans/{quote(args.plan, safe='')}/apply")
    changes = "; ".join(map(_describe, made["changes"]))
    return f"applied as entry {made['seq']} of the journal: {changes}\nring {made['before']} -> {made['after']}"


def log(args: argparse.Namespace) -> str:
    """Show the journal, or explain a placement at a time."""
    client = daemon(args)
    if (args.at is None) != (args.token is None):
        raise Refused("--at TIME and --token TOKEN must be given together")
    if args.token is not None:
        return _explanation(client, args, {"token": read_text_token(args.token), "at": args.at})
    found = client.ask("GET", f"{pool_path(client, args)}/journal?limit={args.limit}")
    if args.json:
        return as_json(found)
    if not found["kept"]:
        return "this daemon has no journal: set state_dir in its configuration"
    rows = [
        [str(entry["seq"]), format_time(entry["time"]), entry["who"], entry["after"], _what(entry)]
        for entry in found["entries"]
    ]
    return table(("entry", "time", "who", "ring after", "what"), rows)


def _what(entry: dict[str, Any]) -> str:
    if "config" in entry:
        return f"configuration: {count(len(entry['config']['backends']), 'backend')}"
    return "; ".join(map(_describe, entry["changes"]))


def _describe(change: dict[str, Any]) -> str:
    return describe(_change.validate_python(change))


def strays(args: argparse.Namespace) -> str:
    """List the strays."""
    client = daemon(args)
    found = client.ask("GET", f"{pool_path(client, args)}/strays?limit={args.limit}")
    if args.json:
        return as_json(found)
    if not found["count"]:
        return f"pool {found['pool']} has no strays: every connected user is on the backend they belong to"
    rows = [[f"digest:{each['digest']}", each["place"], each["home"], str(each["tunnels"])] for each in found["strays"]]
    rest = found["count"] - len(rows)
    lines = [table(("user", "is on", "belongs on", "tunnels"), rows), *([f"  and {rest} more"] if rest else [])]
    return "\n".join([*lines, "to move them home: balancer ring settle --rate 5/s"])


def settle(args: argparse.Namespace) -> str:
    """Move strays home and show the progress."""
    client = daemon(args)
    path = pool_path(client, args)
    try:
        work = client.ask("POST", f"{path}/settle", {"rate": args.rate})["settling"]
        while not work["done"]:
            _progress(f"{work['moved']} of {count(work['strays'], 'stray')} moved")
            time.sleep(_POLL_INTERVAL)
            work = client.ask("GET", f"{path}/strays?limit=0")["settling"]
    except KeyboardInterrupt:
        work = client.ask("DELETE", f"{path}/settle")["settling"]
        _progress("")
        return f"stopped: {work['moved']} of {count(work['strays'], 'stray')} moved, the others stay where they are"
    _progress("")
    if not work["strays"]:
        return "there are no strays"
    left = work["strays"] - work["moved"]
    rest = f"; {left} disconnected meanwhile, or stay because their own backend cannot take them" if left else ""
    return f"{work['moved']} of {count(work['strays'], 'stray')} moved{rest}"


def _progress(text: str) -> None:
    """Overwrite the progress line, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def trace(args: argparse.Namespace) -> str:
    """Make a request header that asks for an explanation."""
    made = daemon(args).ask("POST", "/v1/trace", {"seconds": args.seconds})
    message = f"valid until {format_time(made['until'])}; responses explain the placement in X-Balancer-Decision:"
    print(message, file=sys.stderr)
    return f"{made['header']}: {made['value']}"
