"""`balancer top`: watch the daemon, drain backends with a key. It reconnects when the daemon is restarted."""

import argparse
import time
from typing import Any
from urllib.parse import quote

from balancer.cli.client import Client, Unreachable
from balancer.cli.live import add_verb, argument, daemon
from balancer.cli.tables import TableCell, count
from balancer.cli.terminal import Terminal, full_screen
from balancer.cli.top_view import Key, Line, Sample, head, table
from balancer.config.scalars import parse_duration
from balancer.errors import Refused

_TIMEOUT = 5.0
"""Seconds for an answer; the screen does not react to keys meanwhile."""
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10, "home": -1_000_000, "end": 1_000_000}
_STATE_KEYS = {"d": "drain", "r": "ready"}
_HELP = TableCell("up/down select  d drain  r ready  q quit", "faint")


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    about = "watch the daemon; keys d and r drain a backend and make it ready again"
    parser = add_verb(verbs, "top", _top, about, of_pool=False)
    parser.add_argument(
        "--interval",
        type=argument(parse_duration),
        default=2.0,
        metavar="2s",
        help="update interval (default: 2s)",
    )


def _top(args: argparse.Namespace) -> str:
    client = daemon(args)
    client.timeout = _TIMEOUT
    client.ask("GET", "/v1/status")  # report errors on the normal screen, before it is covered
    with full_screen() as terminal:
        _Top(client, terminal, args.interval).run()
    return ""


class _Top:
    """The main loop: fetch the status, draw it, handle keys."""

    def __init__(self, client: Client, terminal: Terminal, interval: float) -> None:
        self._client = client
        self._terminal = terminal
        self._interval = interval
        self._sample: Sample | None = None
        self._error = ""
        """Why the newest status could not be fetched."""
        self._selected: Key | None = None
        self._first = 0
        """Number of table lines scrolled off the top."""
        self._notice = _HELP
        self._unconfirmed: tuple[Key, str] | None = None
        """A backend and the state to set once the operator confirms."""

    def run(self) -> None:
        """Run until the operator quits."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                self._fetch()
                due = time.monotonic() + self._interval
            self._draw()
            for key in self._terminal.keys(due - time.monotonic()):
                if self._unconfirmed is not None:
                    self._confirm(key)
                    due = 0.0
                elif key == "q":
                    return
                elif key in _STATE_KEYS and self._selected is not None:
                    self._ask(self._selected, _STATE_KEYS[key])
                else:
                    self._move(_STEPS.get(key, 0))

    def _fetch(self) -> None:
        try:
            found = self._client.ask("GET", "/v1/status")
        except (Unreachable, Refused) as error:
            self._error = str(error)
            return
        self._error = ""
        self._sample = Sample(found, time.monotonic(), self._sample)
        if self._selected not in self._sample.backends:
            self._selected = next(iter(self._sample.backends), None)

    def _draw(self) -> None:
        size = self._terminal.size
        above: list[Line] = [[TableCell(self._error, "bad")]]
        listed: list[Line] = []
        place = 0
        if self._sample is not None:
            above = head(self._sample, self._client.address, self._error)
            listed, place = table(self._sample, self._selected, size.columns)
        room = max(1, size.lines - len(above) - 1)
        first = 0 if place < room else min(max(self._first, place - room + 1), place)
        self._first = max(0, min(first, len(listed) - room))
        shown = listed[self._first : self._first + room]
        shown += [[]] * (room - len(shown))
        self._terminal.show([*above, *shown, [self._notice]][-size.lines :])

    def _move(self, step: int) -> None:
        self._notice = _HELP
        if self._sample is None or self._selected is None:
            return
        keys = list(self._sample.backends)
        self._selected = keys[min(max(keys.index(self._selected) + step, 0), len(keys) - 1)]

    def _ask(self, key: Key, state: str) -> None:
        assert self._sample is not None
        backend = self._sample.backends[key]
        connected = f"{count(backend['users'], 'user')} with {count(backend['tunnels'], 'tunnel')} connected"
        self._unconfirmed = key, state
        self._notice = TableCell(f"{state} {key[1]} of pool {key[0]}? {connected}; press y to confirm", "warning")

    def _confirm(self, key: str) -> None:
        assert self._unconfirmed is not None
        ((pool, name), state), self._unconfirmed = self._unconfirmed, None
        if key != "y":
            self._notice = TableCell(f"{name} is unchanged", "faint")
            return
        path = f"/v1/pools/{quote(pool, safe='')}/backends/{quote(name, safe='')}/state"
        try:
            backend: dict[str, Any] = self._client.ask("PUT", path, {"state": state})["backend"]
        except (Refused, Unreachable) as error:
            self._notice = TableCell(str(error), "bad")
        else:
            self._notice = TableCell(f"{name} is now in state {backend['state']}", "good")
