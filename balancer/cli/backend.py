"""`balancer backend list|ready|drain|maint|weight`: show backends, set their state and weight."""

import argparse
import time
from functools import partial
from typing import Any
from urllib.parse import quote

from balancer.cli.live import add_verb, argument, as_json, daemon, pool_path
from balancer.cli.status import pool_table
from balancer.cli.tables import count, table
from balancer.config.local_time import format_time
from balancer.config.scalars import format_duration, parse_cut_after, parse_duration
from balancer.errors import Refused

_STATES = {
    "ready": "take new users again",
    "drain": "take no new users; connected users may stay until --cut-after",
    "maint": "take no connections at all; open tunnels may stay until --cut-after",
}
_CONFIRMATIONS = {
    "ready": "{name} is ready and takes new users",
    "drain": "{name} is draining: it gets no new users",
    "maint": "{name} is in maintenance: it gets no connections",
}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its subcommands to the command's parser."""
    own = verbs.add_parser("backend", help="list backends, set their state or weight").add_subparsers(
        metavar="VERB", required=True
    )
    add_verb(own, "list", _list, "list the backends of a pool", reads=True)
    for state, about in _STATES.items():
        parser = add_verb(own, state, partial(_set_state, state), about)
        parser.add_argument("name", metavar="BACKEND")
        parser.set_defaults(cut_after=None, dry_run=False)
        if state != "ready":
            parser.add_argument(
                "--cut-after",
                type=argument(parse_cut_after),
                metavar="2h|never",
                help="close the tunnels that are left after this time (default: drain of the pool, or timeouts.drain)",
            )
            parser.add_argument("--dry-run", action="store_true", help="only show who is there and would be cut off")
    parser = add_verb(own, "weight", _set_weight, "change the weight of a backend, at once or gradually")
    parser.add_argument("name", metavar="BACKEND")
    parser.add_argument(
        "--over", type=argument(parse_duration), metavar="30m", help="change it gradually, over this time"
    )
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("weight", metavar="W", type=float, nargs="?", help="0 to 256; 0 removes it from the ring")
    for action, about in (
        ("pause", "pause a gradual change"),
        ("resume", "resume a paused change"),
        ("rollback", "return to the weight before the change"),
    ):
        one.add_argument(f"--{action}", dest="action", action="store_const", const=action, help=about)


def _list(args: argparse.Namespace) -> str:
    client = daemon(args)
    found = client.ask("GET", f"{pool_path(client, args)}/backends")
    return as_json(found) if args.json else pool_table(found["backends"], found["not_in_file"])


def _set_state(state: str, args: argparse.Namespace) -> str:
    if args.dry_run:
        return _preview(state, args)
    backend = _put(args, "PUT", "state", {"state": state, "cut_after": args.cut_after})["backend"]
    name = backend["name"]
    confirmation = _CONFIRMATIONS[state].format(name=name)
    if state == "ready" and backend["weight"] == 0 and not backend["backup"]:
        return f"{name} is ready, but its weight is 0; to give it new users: balancer backend weight {name} 1"
    if state == "ready" and not backend["up"]:
        return f"{name} is ready and takes new users once it is up: {backend['why_down']}"
    if state == "ready":
        return confirmation
    left = f"{count(backend['users'], 'user')} with {count(backend['tunnels'], 'tunnel')}"
    return f"{confirmation}; {left} still connected\n{_end(backend)}\nto undo: balancer backend ready {name}"


def _end(facts: dict[str, Any]) -> str:
    """Say what becomes of the tunnels that are left."""
    if facts["cut_at"] is None:
        return "tunnels that are left stay open for as long as their users want"
    left = format_duration(facts["cut_at"] - time.time())
    return f"tunnels that are left at {format_time(facts['cut_at'])} (in {left}) will be closed"


def _preview(state: str, args: argparse.Namespace) -> str:
    found = _put(args, "PUT", "state", {"state": state, "cut_after": args.cut_after, "dry_run": True})
    users, nobodys = found["users"], found["without_token"]
    lines = [f"{args.name} would be in state {state}: {count(len(users), 'user')} connected", _end(found)]
    if users:
        rows = [[f"digest:{each['digest']}", str(each["tunnels"])] for each in users]
        lines.append(table(("user", "tunnels"), rows))
    if nobodys:
        lines.append(f"and {count(nobodys, 'tunnel')} without a token")
    return "\n".join([*lines, "nothing was changed: a dry run"])


def _set_weight(args: argparse.Namespace) -> str:
    if args.action is not None:
        if args.over is not None:
            raise Refused(f"--over needs a weight and cannot be combined with --{args.action}")
        return _weight_line(_put(args, "POST", "ramp", {"action": args.action})["backend"])
    weight = {"weight": args.weight, "over": args.over or 0.0}
    return _weight_line(_put(args, "PUT", "weight", weight)["backend"])


def _put(args: argparse.Namespace, method: str, what: str, body: object) -> dict[str, Any]:
    """Change one property of the backend and return the answer."""
    client = daemon(args)
    path = f"{pool_path(client, args)}/backends/{quote(args.name, safe='')}/{what}"
    return client.ask(method, path, body)


def _weight_line(backend: dict[str, Any]) -> str:
    name, ramp = backend["name"], backend["ramp"]
    line = f"the weight of {name} is {backend['weight']:g}"
    if ramp is None:
        return line
    if ramp["paused"]:
        return f"{line}, paused\nto continue to {ramp['to']:g}: balancer backend weight {name} --resume"
    stop = f"balancer backend weight {name} --pause, or --rollback"
    return f"{line} and will be {ramp['to']:g} in {format_duration(ramp['left'])}\nto stop: {stop}"
