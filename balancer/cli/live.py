"""What the verbs that talk to a running daemon have in common: options, errors, the choice of a pool."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from balancer.cli.client import DEFAULT, Client, Unreachable, admin_address, reach
from balancer.errors import ConfigError, Refused

TOKEN = "as it stands in the URL; - reads it from standard input; digest: and its 16 digits in the access log"
"""What a token argument may be."""
_DIGEST = re.compile(r"digest:([0-9a-f]{16})(?:/([0-9]{1,4}))?")

Run = Callable[[argparse.Namespace], str]
"""From the arguments to what is printed."""


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Run,
    about: str,
    *,
    reads: bool = False,
    of_pool: bool = True,
) -> argparse.ArgumentParser:
    """A verb; one that ``reads`` can print JSON, one ``of_pool`` can be told the pool."""
    parser = verbs.add_parser(name, help=about, description=about)
    parser.add_argument(
        "--admin",
        type=admin_address,
        metavar="SOCKET",
        help=f"where the daemon is: its socket, or http://HOST:PORT (default: as in --config, or {DEFAULT})",
    )
    # SUPPRESS: `balancer --config FILE VERB` means the same.
    parser.add_argument(
        "--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="the configuration of the daemon"
    )
    if of_pool:
        parser.add_argument("--pool", metavar="POOL", help="needed only when there are several")
    if reads:
        parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=lambda args: answer(run, args))
    return parser


def answer(run: Run, args: argparse.Namespace) -> int:
    """Run a verb, print what it says, and return the exit code."""
    try:
        print(run(args))
    except (ConfigError, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130  # as shells have it: 128 and the number of SIGINT
    return 0


def daemon(args: argparse.Namespace) -> Client:
    """The daemon the arguments mean."""
    return reach(args.admin, args.config)


def pool_names(client: Client, name: str | None) -> list[str]:
    """All pools of the daemon, or the one of this name."""
    names = [pool["name"] for pool in client.ask("GET", "/v1/pools")["pools"]]
    if name is not None and name not in names:
        raise Refused(f'there is no pool "{name}"; there are {", ".join(names)}')
    return names if name is None else [name]


def pool_path(client: Client, args: argparse.Namespace) -> str:
    """The path of the pool the arguments mean: the only one, unless they name one."""
    names = pool_names(client, args.pool)
    if len(names) > 1:
        raise Refused(f"choose a pool with --pool: {', '.join(names)}")
    return f"/v1/pools/{quote(names[0], safe='')}"


def read_token(argument: str) -> bytes:
    """A token argument; ``-`` reads it from standard input, so that it is in no shell history and no process list."""
    return sys.stdin.buffer.readline().rstrip(b"\r\n") if argument == "-" else os.fsencode(argument)


def read_text_token(argument: str) -> str:
    """The same for the daemon, which takes text."""
    try:
        return read_token(argument).decode()
    except UnicodeDecodeError:
        raise Refused("the token is not text in UTF-8") from None


def digest_of(
    client: Client, args: argparse.Namespace, argument: str, *, prefix: bool = False
) -> tuple[str, int | None]:
    """What the daemon knows the user of a token argument by, for a prefix also its length.

    The token travels in the body of a request, never in its path.
    """
    token = read_text_token(argument)
    if not token.startswith("digest:"):
        found = client.ask("POST", f"{pool_path(client, args)}/digest", {"token": token, "prefix": prefix})
        return found["digest"], found["prefix"]
    known = _DIGEST.fullmatch(token)
    if known is None:
        raise Refused("a digest is written digest: and 16 hex digits, for a prefix also / and its length")
    return known[1], int(known[2]) if known[2] else None


def as_json(value: Any) -> str:  # noqa: ANN401  # whatever the daemon has answered
    """For scripts."""
    return json.dumps(value, indent=2)


def argument(parse: Callable[[str], float]) -> Callable[[str], float]:
    """A parser of text as a ``type`` of argparse, which shows its words."""

    def parsed(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed
