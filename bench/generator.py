"""Our own load generator: ``python -m bench.generator KIND PORT CONNECTIONS [CERTIFICATE]``.

It connects, prints ``ready``, and then for each number of seconds on its standard input prints a result as JSON. The
first error ends it with a message: an error among the answers makes the whole run meaningless.
"""

import json
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from bench.clients import Client, Target, WrongAnswer, client
from bench.load import Result
from bench.loop import Stalled
from bench.messages import tokens
from bench.pace import closed_loop, fixed_rate, one_at_a_time, run_all

AT_ONCE = 32
"""Connections that are opened at the same time."""
_PACES: dict[str, Callable[[Sequence[Client], float], Result]] = {
    "quiet": one_at_a_time,
    "steady": partial(fixed_rate, rate=500),
    "storm": partial(fixed_rate, rate=200),
}
"""Kinds that do not run as fast as possible."""


def main(kind: str, port: str, connections: str, certificate: str | None = None) -> None:
    """Run the generator."""
    target = Target(int(port), ssl.create_default_context(cafile=certificate) if certificate else None)
    users = tokens(kind)
    clients: list[Client] = []
    for first in range(0, int(connections), AT_ONCE):
        group = range(first, min(first + AT_ONCE, int(connections)))
        clients += [client(kind, target, users[number % len(users)]) for number in group]
        run_all([newcomer.open() for newcomer in clients[first:]])
    print("ready", flush=True)
    run = _PACES.get(kind, closed_loop)
    for line in sys.stdin:
        print(json.dumps(asdict(run(clients, float(line)))), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, Stalled, WrongAnswer) as error:
        raise SystemExit(f"{error}") from None
