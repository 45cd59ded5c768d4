"""The parsers of `balancer ring`."""

import argparse
from functools import partial
from pathlib import Path

from balancer.cli.late import late
from balancer.cli.live import add_verb, argument
from balancer.cli.tables import parse_rate, parse_time
from balancer.config.scalars import parse_duration

_CHANGES = {
    "add": ("NAME=ADDRESS", "add a backend"),
    "remove": ("BACKEND", "remove a backend"),
    "weight": ("BACKEND=W", "change its weight"),
    "drain": ("BACKEND", "send it no new users"),
    "maint": ("BACKEND", "send it no connections at all"),
    "ready": ("BACKEND", "send it new users again"),
}
"""Options of `ring plan` on the running daemon: the form of the value, and the help."""


_ABOUT = (
    "Compare where haproxy or nginx sent requests, according to its logs, with where this configuration sends them. "
    "--against sends probes to a running one instead. The exit code is 0 if every difference is explained."
)
_FORMAT_HELP = (
    "httplog (also for httpslog), tcplog or clf; or the value of log-format (haproxy) or log_format (nginx), @FILE to "
    "read it from a file; without this option, haproxy's standard formats are detected"
)


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its subcommands to the command's parser."""
    own = verbs.add_parser("ring", help="explain, show, plan and change placement").add_subparsers(
        metavar="VERB", required=True
    )
    parser = add_verb(
        own, "explain", late("cli.placement:explain"), "explain where a token is placed, and why", reads=True
    )
    parser.add_argument("token", metavar="TOKEN", help="the token as in the URL, or - to read it from standard input")
    add_verb(
        own,
        "show",
        late("cli.placement:show"),
        "show each backend's share and points, and how even they are",
        reads=True,
    )
    parser = add_verb(
        own, "plan", late("cli.placement:plan"), "show what a change would move, without making it", reads=True
    )
    parser.add_argument(
        "--to", type=Path, metavar="NEW", help="configuration file to change to; offline with --config OLD"
    )
    for option, (form, about) in _CHANGES.items():
        kind = partial(_parse_change, option)
        parser.add_argument(f"--{option}", dest="changes", action="append", type=kind, metavar=form, help=about)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ring before and after (one pool)")
    _add_live(own)
    _add_verify(own)


def _add_live(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that need a running daemon."""
    parser = add_verb(
        verbs,
        "apply",
        late("cli.ring_live:apply"),
        "apply a plan, if nothing has changed since",
        of_pool=False,
    )
    parser.add_argument("plan", metavar="PLAN", help="the id that `balancer ring plan` printed")
    parser = add_verb(
        verbs, "log", late("cli.ring_live:log"), "show the journal: who changed what, and when", reads=True
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="show the N newest entries (%(default)s)")
    parser.add_argument(
        "--at",
        type=argument(parse_time),
        metavar="TIME",
        help='with --token: where it belonged at this time; "2026-11-22T14:05", or how long ago: "2h"',
    )
    parser.add_argument("--token", metavar="TOKEN", help="the token as in the URL, or - to read it from standard input")
    parser = add_verb(
        verbs,
        "strays",
        late("cli.ring_live:strays"),
        "list strays: connected users who are not on the backend they belong to",
        reads=True,
    )
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="list at most N strays (%(default)s)")
    parser = add_verb(verbs, "settle", late("cli.ring_live:settle"), "move strays home at a given rate; Ctrl-C stops")
    parser.add_argument("--rate", required=True, type=argument(parse_rate), metavar="5/s", help="users per time")
    parser = add_verb(
        verbs,
        "trace",
        late("cli.ring_live:trace"),
        "print a request header; responses to requests with it explain the placement",
        of_pool=False,
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        type=argument(parse_duration),
        default=3600.0,
        metavar="1h",
        help="how long the header is valid (default: 1h)",
    )


def _add_verify(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser("verify", help="check placement against haproxy or nginx", description=_ABOUT)
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the configuration to verify")
    parser.add_argument("--pool", metavar="NAME", help="verify only this pool")
    parser.add_argument(
        "--down", action="append", default=[], metavar="NAME", help="a backend that was down all the time"
    )
    parser.add_argument(
        "--mark",
        action="append",
        default=[],
        metavar="MARK=NAME",
        help="what the logs or answers call NAME",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--backend", metavar="NAME", help="haproxy's name of the pool, if different")
    parser.add_argument("--format", metavar="FORMAT", help=_FORMAT_HELP)
    parser.add_argument("logs", nargs="*", metavar="LOG", help="log files, also .gz, in any order; - is standard input")
    _add_probing(parser)
    parser.set_defaults(run=late("cli.verify:run"))


def _add_probing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("probing a running balancer")
    group.add_argument("--against", metavar="URL", help="send probes with made-up tokens to this URL")
    mark = group.add_mutually_exclusive_group()
    mark.add_argument("--header", metavar="NAME", help="the response header that names the answering backend")
    mark.add_argument("--body", action="store_true", help="the response body names the answering backend")
    group.add_argument("--count", type=int, default=2000, metavar="N", help="probes to send (%(default)s)")
    group.add_argument(
        "--rate", type=argument(parse_rate), default=200.0, metavar="200/s", help="probes per time (%(default)g/s)"
    )
    group.add_argument("--allow-host", metavar="HOST", help="repeat the host of URL if it is not this machine")
    group.add_argument("--server-name", metavar="NAME", help="Host and TLS server name, if URL has an IP address")
    group.add_argument("--ca-file", type=Path, metavar="FILE", help="CA certificates (PEM) to trust, for https")


def _parse_change(option: str, text: str) -> dict[str, object]:
    """A change in the form that the admin API takes."""
    name, equals, value = text.partition("=")
    if bool(equals) != ("=" in _CHANGES[option][0]):
        raise argparse.ArgumentTypeError(f"expected {_CHANGES[option][0]}")
    match option:
        case "add":
            return {"op": "add", "name": name, "address": value}
        case "remove":
            return {"op": "remove", "name": name}
        case "weight":
            return {"op": "weight", "backend": name, "weight": _number(value)}
        case _:
            return {"op": "state", "backend": name, "state": option}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected a number as the weight, not "{text}"') from None
