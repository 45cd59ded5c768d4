"""`balancer upgrade`: have another version take over, without closing a connection."""

import argparse
import time
from pathlib import Path
from typing import Any

from balancer.cli.client import Client, Unreachable
from balancer.cli.live import add_verb, argument, as_json, daemon
from balancer.cli.tables import count
from balancer.config.scalars import format_duration, parse_delay
from balancer.errors import Refused

LOOK_EVERY = 0.2
"""Seconds between two looks at a running upgrade."""
AWAY = 60.0
"""Seconds for which nobody may answer while control changes."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    about = "have another version take over: new connections go to it, open ones stay where they are"
    parser = add_verb(verbs, "upgrade", _upgrade, about, reads=True, of_pool=False)
    parser.add_argument(
        "--to", metavar="RELEASE", help="name of the release, or its path (Unix socket only); default: the current one"
    )
    parser.add_argument("--dry-run", action="store_true", help="only rehearse it")
    parser.add_argument("--wait", action="store_true", help="wait until the new version serves, or has gone back")
    parser.add_argument("--allow-moves", action="store_true", help="even if the new version moves users")
    parser.add_argument("--finish", action="store_true", help="end the connections that previous versions still have")
    parser.add_argument(
        "--over",
        type=argument(parse_delay),
        metavar="D",
        help="with --finish: within this time, such as 30m (default: timeouts.close_spread)",
    )


def _upgrade(args: argparse.Namespace) -> str:
    client = daemon(args)
    if args.finish:
        if args.to is not None or args.dry_run or args.wait or args.allow_moves:
            raise Refused("--finish ends previous versions, and begins no upgrade: use it alone, or with --over")
        return _finish(client, args)
    if args.over is not None:
        raise Refused("--over belongs to --finish")
    body = {"to": _release(args.to), "dry_run": args.dry_run, "allow_moves": args.allow_moves}
    news = client.ask("POST", "/v1/upgrade", body)
    if args.wait and not args.dry_run:
        news = _outcome(client, news)
    return as_json(news) if args.json else "\n".join([*news["notes"], _text(news)])


def _release(to: str | None) -> str | None:
    """Return a name as it is, and a path as an absolute one."""
    return str(Path(to).absolute()) if to is not None and "/" in to else to


def _outcome(client: Client, news: dict[str, Any]) -> dict[str, Any]:
    """Wait until an upgrade is over. Raise ``Refused`` if the version before goes on."""
    number, heard = news["number"], time.monotonic()
    while news["number"] == number and news["state"] == "running":
        time.sleep(LOOK_EVERY)
        try:
            news = client.ask("GET", "/v1/upgrade")
        except Unreachable:  # control changes
            if time.monotonic() > heard + AWAY:
                raise
        else:
            heard = time.monotonic()
    if news["number"] != number:
        raise Refused("the daemon was restarted, or another upgrade has begun: `balancer status` says what runs")
    if news["state"] != "done":
        raise Refused(f"version {news['from']} goes on: {news['problem']}")
    return news


def _text(news: dict[str, Any]) -> str:
    versions = f"{news['from']} to {news['version']} ({news['release']})"
    match news["state"]:
        case "rehearsed":
            return f"rehearsed the upgrade from {versions}: it is possible; nothing was changed"
        case "done":
            return f"upgraded from {versions}"
        case _:
            return f"upgrading from {versions}; balancer status shows how it goes"


def _finish(client: Client, args: argparse.Namespace) -> str:
    done = client.ask("POST", "/v1/upgrade/finish", {"over": args.over})
    if args.json:
        return as_json(done)
    if not done["workers"]:
        return "no previous version has connections"
    left = f"{count(done['workers'], 'worker')} of previous versions with {count(done['tunnels'], 'tunnel')}"
    return f"ending {left} within {format_duration(done['over'])}"
