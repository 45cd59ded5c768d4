"""`balancer backend list|ready|drain|maint|weight`: what operators do with a host."""

import argparse
from functools import partial
from typing import Any
from urllib.parse import quote

from balancer.cli.live import add_verb, argument, as_json, daemon, pool_path
from balancer.cli.status import backends_table
from balancer.cli.tables import count
from balancer.config.scalars import parse_duration, span
from balancer.errors import Refused

_STATES = {
    "ready": "take new users again",
    "drain": "take nobody new; connected users stay for timeouts.drain",
    "maint": "take nobody at all; open tunnels are closed after timeouts.drain",
}
_SAID = {
    "ready": "{name} is ready and takes new users",
    "drain": "{name} drains: nobody new is placed there",
    "maint": "{name} is in maint: nobody is placed there",
}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its own verbs to the command's parser."""
    own = verbs.add_parser("backend", help="list, drain and weigh backends").add_subparsers(
        metavar="VERB", required=True
    )
    add_verb(own, "list", _list, "the backends of a pool", reads=True)
    for state, about in _STATES.items():
        parser = add_verb(own, state, partial(_set_state, state), about)
        parser.add_argument("name", metavar="BACKEND")
    parser = add_verb(own, "weight", _weigh, "change a weight, at once or in steps")
    parser.add_argument("name", metavar="BACKEND")
    parser.add_argument(
        "--over", type=argument(parse_duration), metavar="30m", help="reach it in steps, over this time"
    )
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("weight", metavar="W", type=float, nargs="?", help="0 to 256; 0 takes it off the ring")
    for action, about in (
        ("pause", "stop the steps"),
        ("resume", "go on with them"),
        ("rollback", "go back to the weight before them"),
    ):
        one.add_argument(f"--{action}", dest="action", action="store_const", const=action, help=about)


def _list(args: argparse.Namespace) -> str:
    client = daemon(args)
    found = client.ask("GET", f"{pool_path(client, args)}/backends")
    return as_json(found) if args.json else backends_table(found["backends"])


def _set_state(state: str, args: argparse.Namespace) -> str:
    backend = _put(args, "PUT", "state", {"state": state})
    name = backend["name"]
    said = _SAID[state].format(name=name)
    if state == "ready" and backend["weight"] == 0 and not backend["backup"]:
        return f"{name} is ready, but its weight is 0: balancer backend weight {name} 1 gives it new users"
    if state == "ready" and not backend["up"]:
        return f"{name} is ready, and takes new users once it is up: {backend['why_down']}"
    if state == "ready":
        return said
    left = f"{count(backend['users'], 'user')} with {count(backend['tunnels'], 'tunnel')}"
    return f"{said}; {left} there now\nundo it with: balancer backend ready {name}"


def _weigh(args: argparse.Namespace) -> str:
    if args.action is not None:
        if args.over is not None:
            raise Refused(f"--over goes with a weight, not with --{args.action}")
        return _weight_line(_put(args, "POST", "ramp", {"action": args.action}))
    return _weight_line(_put(args, "PUT", "weight", {"weight": args.weight, "over": args.over or 0.0}))


def _put(args: argparse.Namespace, method: str, what: str, body: object) -> dict[str, Any]:
    """Change something of the backend; how it is now."""
    client = daemon(args)
    path = f"{pool_path(client, args)}/backends/{quote(args.name, safe='')}/{what}"
    backend: dict[str, Any] = client.ask(method, path, body)["backend"]
    return backend


def _weight_line(backend: dict[str, Any]) -> str:
    name, ramp = backend["name"], backend["ramp"]
    line = f"the weight of {name} is {backend['weight']:g}"
    if ramp is None:
        return line
    if ramp["paused"]:
        return f"{line} and stays so\ngo on to {ramp['to']:g} with: balancer backend weight {name} --resume"
    steer = f"balancer backend weight {name} --pause, or --rollback"
    return f"{line} and will be {ramp['to']:g} in {span(ramp['left'])}\nstop it with: {steer}"
