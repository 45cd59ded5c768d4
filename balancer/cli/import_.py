"""`balancer import haproxy|nginx`: convert the configuration of another load balancer."""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from balancer.control.certificates import check
from balancer.errors import ConfigError
from balancer.migrate.haproxy.importer import import_haproxy
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Outcome, Surroundings

_INCOMPLETE = 4
"""The exit code if something that affects traffic or access was left out of a usable file."""

_IMPORTERS: dict[str, Callable[[Sequence[Path], Surroundings], Outcome]] = {
    "haproxy": import_haproxy,
    "nginx": import_nginx,
}


def run(peer: str, args: argparse.Namespace) -> int:
    """Convert the files of ``peer``, a key of ``_IMPORTERS``, and return the exit code."""
    try:
        outcome = _IMPORTERS[peer](args.files, Surroundings(os.environ, _resolve, args.allow_open))
    except ConfigError as error:
        print(error, file=sys.stderr)
        print(f"{_problems(len(error.problems))}; nothing was written", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(outcome.as_json(), indent=2), file=sys.stderr if args.output is None else sys.stdout)
    else:
        for text in (outcome.summary(), *outcome.remarks):
            print(text, file=sys.stderr)
    if args.output is None:
        print(outcome.text, end="")
        return 0 if outcome.complete else _INCOMPLETE
    try:
        with args.output.open("x") as file:  # never overwrite a file that may have been edited
            file.write(outcome.text)
    except OSError as error:
        print(f"cannot write {args.output}: {error.strerror}", file=sys.stderr)
        return 1
    report = check(args.output, time.time())
    for problem in (*report.problems, *(replace(each, message=f"warning: {each.message}") for each in report.warnings)):
        print(problem, file=sys.stderr)
    if not args.json:
        print(f"{args.output}: balancer check finds {_problems(len(report.problems))}")
    return 1 if report.problems else 0 if outcome.complete else _INCOMPLETE


def _problems(problems: int) -> str:
    return "no problems" if not problems else f"{problems} problem{'' if problems == 1 else 's'}: see above"


def _resolve(name: str) -> list[str]:
    """The addresses of a host, in the resolver's order; empty if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
