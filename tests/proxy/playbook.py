"""Playbooks: what clients and backends do, step by step, and what they get for it.

A step is a side and what it does: bytes, or an ``Act``. The side ``client`` is one connection; ``a`` and ``b`` are the
latest connection of that backend. ``clock`` moves the time on. The same script can be run with its bytes whole, one by
one, or split anywhere: what everybody gets must not depend on it.
"""

from dataclasses import dataclass, field
from enum import Enum

from proxy_rig import run


class Act(Enum):
    """What a side can do beside sending bytes."""

    EOF = "sends its end of stream"
    RESET = "closes without reading what it was sent"
    STALL = "stops reading"
    RESUME = "reads on"
    REFUSE = "refuses connections"


@dataclass
class Playbook:
    """A script, and what comes of it."""

    script: list
    client: bytes = b""
    """What the client gets."""
    end: str = ""
    """How the balancer ended the client's connection, if it did."""
    hosts: dict = field(default_factory=dict)
    """What each backend got, by connection, and how each connection ended."""
    log: list = field(default_factory=list)
    """The lines of the access log."""
    settings: dict = field(default_factory=dict)
    framed: bool = False
    """Chunks are sent on as they come, so their borders depend on the splits."""


@dataclass
class Outcome:
    """What came of a script."""

    client: bytes
    end: str
    hosts: dict
    log: list


def whole(data):
    """Do not split."""
    return [data]


def byte_by_byte(data):
    return [data[at : at + 1] for at in range(len(data))]


def at(cuts):
    """Split at these positions, again and again; 0 does not split."""

    def split(data):
        pieces, rest = [], iter(cuts * (len(data) + 1))
        while data:
            size = next(rest) or len(data)
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    return split


def play(playbook, split=whole, before=lambda rig: None, **more):
    """Run a playbook, its bytes ``split``; return the outcome. ``before`` gets the rig first."""

    async def work(rig):
        before(rig)
        for side, what in playbook.script:
            if side == "client" and not rig.clients:
                await rig.client()
            await _step(rig, side, what, split)
        return Outcome(
            rig.clients[0].got,
            rig.clients[0].end,
            {name: [(peer.got, peer.end) for peer in host.connections] for name, host in rig.hosts.items()},
            list(rig.log.lines),
        )

    return run(work, **{**playbook.settings, **more})


async def _step(rig, side, what, split):
    if side == "clock":
        await rig.passes(what)
        return
    if what is Act.REFUSE:
        rig.hosts[side].refuse()
        return
    peers = rig.clients if side == "client" else rig.hosts[side].connections
    if not peers and rig.lenient:
        return
    peer = peers[0 if side == "client" else -1]
    match what:
        case Act.EOF:
            peer.finish()
        case Act.RESET:
            peer.close()
        case Act.STALL:
            peer.stalled = True
        case Act.RESUME:
            peer.stalled = False
        case _:
            for piece in split(what):
                await rig.send(peer, piece)
    await rig.settle()


def unframed(data):
    """The head and the bare body of a chunked message, as far as it goes in whole chunks; anything else as it is."""
    head, border, body = data.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return data
    bare = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return head + border + bare + b"|" + body
        bare, body = bare + body[:length], body[length + 2 :]
    return head + border + bare


def comparable(playbook, outcome):
    """The outcome, without what may differ: the borders of some chunks, and how a connection is closed."""
    bare = unframed if playbook.framed else bytes
    hosts = {name: [(bare(got), bool(end)) for got, end in each] for name, each in outcome.hosts.items()}
    return Outcome(bare(outcome.client), outcome.end, hosts, outcome.log)
