"""`balancer top`: the daemon while it works, and a key to drain a backend. It goes on when the daemon starts again."""

import argparse
import time
from typing import Any
from urllib.parse import quote

from balancer.cli.client import Client, Unreachable
from balancer.cli.live import add_verb, argument, daemon
from balancer.cli.tables import Cell, count
from balancer.cli.terminal import Terminal, whole_terminal
from balancer.cli.top_view import Key, Line, Looks, head, table
from balancer.config.scalars import parse_duration
from balancer.errors import Refused

_PATIENCE = 5.0
"""Seconds for an answer: keys wait for it."""
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10, "home": -1_000_000, "end": 1_000_000}
_ORDERS = {"d": "drain", "r": "ready"}
_HELP = Cell("up/down choose  d drain  r ready  q quit", "faint")


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    parser = add_verb(verbs, "top", _top, "watch the daemon at work; d and r drain a backend and back", of_pool=False)
    parser.add_argument(
        "--interval", type=argument(parse_duration), default=2.0, metavar="2s", help="between two looks (default: 2s)"
    )


def _top(args: argparse.Namespace) -> str:
    client = daemon(args)
    client.patience = _PATIENCE
    client.ask("GET", "/v1/status")  # what is wrong from the beginning is better said on the ordinary screen
    with whole_terminal() as terminal:
        _Top(client, terminal, args.interval).run()
    return ""


class _Top:
    """The loop: look, draw, heed keys."""

    def __init__(self, client: Client, terminal: Terminal, interval: float) -> None:
        self._client = client
        self._terminal = terminal
        self._interval = interval
        self._looks: Looks | None = None
        self._trouble = ""
        self._chosen: Key | None = None
        self._first = 0
        """The first line of the table that is on the screen."""
        self._notice = _HELP
        self._order: tuple[Key, str] | None = None
        """A backend and the state it is to have, if the operator says yes."""

    def run(self) -> None:
        """Until the operator has seen enough."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                self._look()
                due = time.monotonic() + self._interval
            self._draw()
            for key in self._terminal.keys(due - time.monotonic()):
                if self._order is not None:
                    self._answer(key)
                    due = 0.0
                elif key == "q":
                    return
                elif key in _ORDERS and self._chosen is not None:
                    self._ask(self._chosen, _ORDERS[key])
                else:
                    self._choose(_STEPS.get(key, 0))

    def _look(self) -> None:
        try:
            found = self._client.ask("GET", "/v1/status")
        except (Unreachable, Refused) as error:
            self._trouble = str(error)
            return
        self._trouble = ""
        self._looks = Looks(found, time.monotonic(), self._looks)
        if self._chosen not in self._looks.backends:
            self._chosen = next(iter(self._looks.backends), None)

    def _draw(self) -> None:
        size = self._terminal.size
        above: list[Line] = [[Cell(self._trouble, "bad")]]
        listed: list[Line] = []
        place = 0
        if self._looks is not None:
            above = head(self._looks, self._client.address, self._trouble)
            listed, place = table(self._looks, self._chosen, size.columns)
        room = max(1, size.lines - len(above) - 1)
        first = 0 if place < room else min(max(self._first, place - room + 1), place)
        self._first = max(0, min(first, len(listed) - room))
        shown = listed[self._first : self._first + room]
        shown += [[]] * (room - len(shown))
        self._terminal.show([*above, *shown, [self._notice]][-size.lines :])

    def _choose(self, step: int) -> None:
        self._notice = _HELP
        if self._looks is None or self._chosen is None:
            return
        keys = list(self._looks.backends)
        self._chosen = keys[min(max(keys.index(self._chosen) + step, 0), len(keys) - 1)]

    def _ask(self, key: Key, state: str) -> None:
        assert self._looks is not None
        backend = self._looks.backends[key]
        there = f"{count(backend['users'], 'user')} with {count(backend['tunnels'], 'tunnel')} there"
        self._order = key, state
        self._notice = Cell(f"{state} {key[1]} of pool {key[0]}? {there}; y for yes", "odd")

    def _answer(self, key: str) -> None:
        assert self._order is not None
        ((pool, name), state), self._order = self._order, None
        if key != "y":
            self._notice = Cell(f"{name} is left as it is", "faint")
            return
        path = f"/v1/pools/{quote(pool, safe='')}/backends/{quote(name, safe='')}/state"
        try:
            backend: dict[str, Any] = self._client.ask("PUT", path, {"state": state})["backend"]
        except (Refused, Unreachable) as error:
            self._notice = Cell(str(error), "bad")
        else:
            self._notice = Cell(f"{name} is now in state {backend['state']}", "good")
