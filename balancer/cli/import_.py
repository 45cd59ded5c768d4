"""`balancer import haproxy|nginx`: from another balancer's configuration to ours."""

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from balancer.config.load import check
from balancer.errors import ConfigError
from balancer.migrate.haproxy.importer import import_haproxy
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Outcome, Surroundings

Importer = Callable[[Sequence[Path], Surroundings], Outcome]

_FORMATS: tuple[tuple[str, Importer, str], ...] = (
    ("haproxy", import_haproxy, "haproxy's files, or folders of *.cfg, in the order of its options -f"),
    ("nginx", import_nginx, "nginx.conf; the files it includes are found"),
)


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its own verbs to the command's parser."""
    own = verbs.add_parser("import", help="make a configuration from that of another balancer").add_subparsers(
        metavar="BALANCER", required=True
    )
    for name, importer, about in _FORMATS:
        parser = own.add_parser(name, help=f"from {name}", description=f"Make a configuration from that of {name}.")
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=about)
        parser.add_argument(
            "-o", "--output", type=Path, metavar="NEW", help="a file to write; standard output otherwise"
        )
        parser.set_defaults(run=lambda args, importer=importer: _run(args, importer))


def _run(args: argparse.Namespace, importer: Importer) -> int:
    try:
        outcome = importer(args.files, Surroundings(os.environ, _resolve))
    except ConfigError as error:
        print(error, file=sys.stderr)
        print(f"{_found(len(error.problems))}; nothing was written", file=sys.stderr)
        return 1
    for remark in outcome.remarks:
        print(remark, file=sys.stderr)
    if args.output is None:
        print(outcome.text, end="")
        return 0
    try:
        with args.output.open("x") as file:  # somebody may have worked on one that is there
            file.write(outcome.text)
    except OSError as error:
        print(f"{args.output} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    report = check(args.output, time.time())
    for problem in (*report.problems, *(replace(each, message=f"warning: {each.message}") for each in report.warnings)):
        print(problem, file=sys.stderr)
    print(f"{args.output}: {_told(len(outcome.remarks))}; balancer check finds {_found(len(report.problems))}")
    return 1 if report.problems else 0


def _told(lines: int) -> str:
    if not lines:
        return "every line was taken over"
    if lines == 1:
        return "1 line was not taken over, or not as it stood: see above"
    return f"{lines} lines were not taken over, or not as they stood: see above"


def _found(problems: int) -> str:
    return "no problem" if not problems else f"{problems} problem{'' if problems == 1 else 's'}: see above"


def _resolve(name: str) -> list[str]:
    """The addresses of a host, in the order the system gives them."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
