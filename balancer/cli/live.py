"""Shared code of the verbs that talk to a running daemon: options, errors, the choice of a pool, token arguments."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from balancer.cli.client import DEFAULT, Client, Unreachable, admin_address, find_daemon
from balancer.config.scalars import no_such
from balancer.errors import ConfigError, Refused

TOKEN_HELP = "the token as in the URL, or - to read it from standard input, or digest:HEX as in the access log"
T = TypeVar("T")
_DIGEST = re.compile(r"digest:([0-9a-f]{16})(?:/([0-9]{1,5}))?")

Run = Callable[[argparse.Namespace], str]
"""Takes the parsed arguments and returns the text to print."""


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Run,
    about: str,
    *,
    reads: bool = False,
    of_pool: bool = True,
) -> argparse.ArgumentParser:
    """Add a verb that talks to the daemon and return its parser.

    ``reads`` adds ``--json``, ``of_pool`` adds ``--pool``.
    """
    parser = verbs.add_parser(name, help=about, description=about)
    parser.add_argument(
        "--admin",
        type=admin_address,
        metavar="SOCKET",
        help=f"address of the daemon: its Unix socket, or http://HOST:PORT (default: from --config, or {DEFAULT})",
    )
    # SUPPRESS: `balancer --config FILE VERB` means the same.
    parser.add_argument(
        "--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="the daemon's configuration file"
    )
    if of_pool:
        parser.add_argument("--pool", metavar="POOL", help="required only if there are several pools")
    if reads:
        parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=lambda args: run_verb(run, args))
    return parser


def run_verb(run: Run, args: argparse.Namespace) -> int:
    """Run a verb, print its output, and return the exit code."""
    try:
        print(run(args))
    except (ConfigError, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130  # the shells' convention: 128 + SIGINT
    return 0


def daemon(args: argparse.Namespace) -> Client:
    """Return a client of the daemon that the arguments select."""
    return find_daemon(args.admin, args.config)


def pool_names(client: Client, name: str | None) -> list[str]:
    """Return the names of all pools, or only ``name``. Raises ``Refused`` if there is no such pool."""
    names = [pool["name"] for pool in client.ask("GET", "/v1/pools")["pools"]]
    if name is not None and name not in names:
        raise Refused(no_such("pool", name, names))
    return names if name is None else [name]


def pool_path(client: Client, args: argparse.Namespace) -> str:
    """Return the API path of the pool that the arguments name, or of the only pool. Raises ``Refused``."""
    names = pool_names(client, args.pool)
    if len(names) > 1:
        raise Refused(f"choose a pool with --pool: {', '.join(names)}")
    return f"/v1/pools/{quote(names[0], safe='')}"


def read_token(argument: str) -> bytes:
    """Return the token; ``-`` reads it from standard input, which keeps it out of shell history and process lists."""
    return sys.stdin.buffer.readline().rstrip(b"\r\n") if argument == "-" else os.fsencode(argument)


def read_text_token(argument: str) -> str:
    """Return the token as text, which the admin API requires. Raises ``Refused`` if it is not UTF-8."""
    try:
        return read_token(argument).decode()
    except UnicodeDecodeError:
        raise Refused("the token is not valid UTF-8") from None


def digest_of(
    client: Client, args: argparse.Namespace, argument: str, *, prefix: bool = False
) -> tuple[str, int | None]:
    """Return the digest that identifies the token in the daemon, and its length in bytes if it is a prefix.

    The token is sent in the body of a request, never in a path, so that it is in no log.
    Raises ``Refused`` for a malformed ``digest:`` argument.
    """
    token = read_text_token(argument)
    if not token.startswith("digest:"):
        found = client.ask("POST", f"{pool_path(client, args)}/digest", {"token": token, "prefix": prefix})
        return found["digest"], found["prefix"]
    known = _DIGEST.fullmatch(token)
    if known is None:
        raise Refused("expected digest: and 16 hex digits, for a prefix followed by / and its length")
    return known[1], int(known[2]) if known[2] else None


def as_json(value: Any) -> str:  # noqa: ANN401  # any answer of the daemon
    """Format a value as indented JSON."""
    return json.dumps(value, indent=2)


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap ``parse`` for use as an argparse ``type``: argparse hides the message of a ``ValueError``."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed
