"""The event stream at `/v1/events`, which browsers, scripts and `balancer events` follow.

Some facts. There is one list, of the newest events, and everybody who follows has a place in it. So a slow reader costs
nothing and holds up nobody: one who falls behind further than the list reaches goes on with its oldest event, and is
told first how many were missed. An id is the start of this daemon and the number of the event, so one from before a
restart is known as such; who comes back with it (``Last-Event-ID``; HTML standard, 9.2) gets everything since the
restart, after a note that there is a gap.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import trio
from pydantic_core import to_json

KEPT = 1024
"""Events that are kept."""
BATCH = 64
"""Most events in one piece."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent: proxies close silent connections."""
RETRY_MS = 2000
"""Milliseconds after which a browser reconnects."""

Kind = Literal[
    "pin",
    "unpin",
    "state",
    "weight",
    "ramp",
    "add",
    "remove",
    "ring",
    "drained",
    "cut",
    "health",
    "panic",
    "drain",
    "listener",
    "certificate",
    "upgrade",
    "reload",
    "worker",
    "log-level",
]
"""Kinds of events. The first seven are changes by operators, as in the journal."""
GAP = "gap"
"""Sent to a reader that has missed events, before the next one."""

_ID = re.compile(r"([0-9a-f]{1,16})-([0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class Event:
    """One change: ``number`` counts from 1, ``time`` is Unix time, ``text`` a sentence without any token."""

    number: int
    time: float
    kind: Kind
    text: str
    about: dict[str, Any]
    """Details for scripts, as plain values: ``pool``, ``backend`` and so on."""


class Events:
    """The newest events. ``wall`` returns Unix time."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._life = f"{int(wall() * 1000):x}"
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._last = 0
        self._waiting = trio.lowlevel.ParkingLot()

    def emit(self, kind: Kind, text: str, **about: object) -> None:
        """Add an event: ``text`` is for people, ``about`` for scripts. Neither may contain a token."""
        self._last += 1
        self._kept.append(Event(self._last, self._wall(), kind, text, about))
        self._waiting.unpark_all()

    def newest(self, number: int) -> int:
        """Return the place before the newest ``number`` events."""
        return self._last - min(number, len(self._kept))

    def place_of(self, last_id: str) -> int | None:
        """Return the place after the event with this id; None if it is from another daemon."""
        match = _ID.fullmatch(last_id)
        if match is None or match[1] != self._life or int(match[2]) > self._last:
            return None
        return int(match[2])

    async def wait_behind(self, place: int) -> None:
        """Wait for an event after this place."""
        while self._last == place:
            await self._waiting.park()

    def behind(self, place: int) -> tuple[int, list[Event]]:
        """Return how many events after this place are lost, and the number of the first that is not."""
        oldest = self._last - len(self._kept)
        lost = max(0, oldest - place)
        start = place + lost - oldest
        return lost, list(islice(self._kept, start, start + BATCH))

    def id_of(self, number: int) -> str:
        """Return the id of the event, with which a reader reconnects."""
        return f"{self._life}-{number}"


class EventReader:
    """A reader of the stream, starting after ``place``; None if it was connected before a restart."""

    def __init__(self, events: Events, place: int | None) -> None:
        self._events = events
        self._place = place if place is not None else 0
        self._first = f"retry: {RETRY_MS}\n\n" + ("" if place is not None else _gap(None))

    async def piece(self) -> bytes:
        """Return what to send next: the start of the stream, events, or a heartbeat after a silence."""
        events = self._events
        if self._first:
            first, self._first = self._first, ""
            return first.encode()
        with trio.move_on_after(HEARTBEAT):
            await events.wait_behind(self._place)
            lost, batch = events.behind(self._place)
            self._place = batch[-1].number
            blocks = [_block(events.id_of(event.number), event) for event in batch]
            return "".join([_gap(lost), *blocks] if lost else blocks).encode()
        return b": still here\n\n"


def _block(id_: str, event: Event) -> str:
    data = {"id": id_, "time": event.time, "kind": event.kind, "text": event.text, **event.about}
    return f"id: {id_}\nevent: {event.kind}\ndata: {to_json(data).decode()}\n\n"


def _gap(lost: int | None) -> str:
    """Return the piece that says how many events are missing; ``lost`` is None if that is unknown."""
    text = "the daemon has started again; events may be missing" if lost is None else f"{lost} events are missing here"
    return f"event: {GAP}\ndata: {to_json({'kind': GAP, 'text': text, 'lost': lost}).decode()}\n\n"
