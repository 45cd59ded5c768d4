"""`balancer events`: follow changes as they happen. It reconnects when the daemon is restarted."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from balancer.cli.client import Client, Unreachable
from balancer.cli.live import add_verb, daemon
from balancer.cli.tables import paint, printable

_ALL = 1000
"""As many older events as the daemon keeps."""
_RETRY_INTERVAL = 0.5
"""Seconds between attempts to reach a daemon that has ended."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    about = "follow changes of health, drains, pins, weights and rings; Ctrl-C stops"
    parser = add_verb(verbs, "events", _events, about, reads=True, of_pool=False)
    parser.add_argument("--last", type=int, default=10, metavar="N", help="first print the last N events (%(default)s)")


def _events(args: argparse.Namespace) -> str:
    client, seen, last = daemon(args), "", args.last
    while True:
        for event in _stream(client, seen, last):
            seen = event.get("id", seen)
            print(json.dumps(event) if args.json else _line(event), flush=True)
        print("the daemon has ended; waiting for it to come back", file=sys.stderr)
        _wait_for(client)
        last = _ALL  # every event since the new one started


def _stream(client: Client, seen: str, last: int) -> Iterator[dict[str, Any]]:
    """Events until the daemon ends: server-sent events (HTML standard, 9.2.6), as far as the daemon uses them."""
    for line in client.lines(f"/v1/events?last={last}", {"Last-Event-ID": seen} if seen else {}):
        field, _, value = line.partition(": ")
        if field == "data":
            yield json.loads(value)


def _wait_for(client: Client) -> None:
    while True:
        time.sleep(_RETRY_INTERVAL)
        try:
            client.ask("GET", "/healthz")
        except Unreachable:
            continue
        return


def _line(event: dict[str, Any]) -> str:
    clock = datetime.fromtimestamp(event["time"]).strftime("%H:%M:%S") if "time" in event else " " * 8
    where = f"{event['pool']}: " if "pool" in event else ""
    return f"{clock}  {event['kind']:<11} {where}{paint(printable(event['text']), _colour(event))}"


def _colour(event: dict[str, Any]) -> str:
    match event["kind"]:
        case "health":
            return "bad" if event["down"] else "warning" if event.get("wish") or event.get("ejected") else "good"
        case "panic":
            return "bad" if event["panic"] else "good"
        case "gap" | "drained" | "cut" | "drain":
            return "warning"
        case _:
            return ""
