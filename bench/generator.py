"""Our own load generator: ``python -m bench.generator KIND PORT CONNECTIONS [CERTIFICATE]``.

It connects, says ``ready``, and then for each number of seconds on its standard input prints one result as JSON. The
first thing that goes wrong ends it with a message: an error among the answers makes the whole run worthless.
"""

import json
import ssl
import sys
from dataclasses import asdict

from bench.clients import Client, Site, Wrong, client
from bench.loop import Stuck
from bench.messages import tokens
from bench.pace import busily, quietly, steadily, together

AT_ONCE = 32
"""Connections that are made at a time."""
_PACES = {"quiet": quietly, "steady": steadily}
"""Of kinds that are not as fast as they can be."""


def main(kind: str, port: str, connections: str, certificate: str | None = None) -> None:
    """The program."""
    site = Site(int(port), ssl.create_default_context(cafile=certificate) if certificate else None)
    users = tokens(kind)
    clients: list[Client] = []
    for first in range(0, int(connections), AT_ONCE):
        group = range(first, min(first + AT_ONCE, int(connections)))
        clients += [client(kind, site, users[number % len(users)]) for number in group]
        together([newcomer.open() for newcomer in clients[first:]])
    print("ready", flush=True)
    run = _PACES.get(kind, busily)
    for line in sys.stdin:
        print(json.dumps(asdict(run(clients, float(line)))), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, Stuck, Wrong) as error:
        raise SystemExit(f"{error}") from None
