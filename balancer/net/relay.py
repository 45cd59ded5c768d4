"""The relay: bytes both ways between two transports until both directions have ended.

One task serves both directions, so that an idle timeout, a close from outside and the end of the tunnel need no second
task and no signals between tasks. Half-close is kept (RFC 9293, 3.6): the end of a stream is passed on after all bytes
before it, and the other direction lives until it ends by itself.
"""

import math

from balancer.errors import ProxyError, Source
from balancer.http.frames import Frames
from balancer.net.engine import Task, TimedOut
from balancer.net.park import PARK
from balancer.net.send_progress import SendProgress
from balancer.net.transport import TURN_BYTES, Transport


class Flow:
    """One direction of a relay. It has ``ended`` when the end of its stream was passed on, or is all that is unsent."""

    __slots__ = ("ended", "frames", "sink", "source")

    def __init__(self, source: Transport, sink: Transport, frames: Frames | None) -> None:
        self.source = source
        self.sink = sink
        self.frames = frames
        self.ended = False

    def move(self) -> bool:
        """Pass on what can be passed on without waiting; return whether anything was."""
        sink = self.sink
        if sink.unsent is not None:
            if not sink.writable:
                return False
            sink.flush()
            return True
        if self.ended or not self.source.pending():
            return False
        data = self.source.receive()
        if data is None:
            return False
        if data:
            if self.frames is not None:
                self.frames.feed(data)
            sink.transmit(data)
        else:
            self.ended = True
            sink.send_eof()
        return True


async def relay(
    task: Task,
    client: Transport,
    backend: Transport,
    idle: float,
    frames: tuple[Frames, Frames] | None = None,
    send_timeout: float = math.inf,
) -> Source:
    """Relay until both directions have ended; return the side that ended first.

    Raise ``TimedOut`` after ``idle`` seconds without a byte in either direction. Raise the ``ProxyError`` of a side
    that breaks, or that acknowledges nothing of what waits for it for ``send_timeout`` seconds, however much it sends
    meanwhile; both sides are reset then, so that neither can take what it got for the whole. In all other cases the
    caller closes the transports. ``frames`` follow what goes to the backend and to the client.
    """
    engine = client.engine
    first: Source | None = None
    progress: SendProgress | None = None
    sent, answered = frames or (None, None)
    up, down = Flow(client, backend, sent), Flow(backend, client, answered)
    task.expires = engine.now + idle
    try:
        while not (up.ended and down.ended and client.unsent is None and backend.unsent is None):
            moved = up.move()
            moved = down.move() or moved
            if first is None and (up.ended or down.ended):
                first = Source.CLIENT if up.ended else Source.BACKEND
            if moved:
                task.expires = engine.now + idle
                if task.spent >= TURN_BYTES:
                    await engine.give_way()
                # A second look at two sides that have nothing to say would cost 15 % of a small message.
                if up.ended or down.ended or client.pending() or backend.pending():
                    continue
            if client.unsent is None and backend.unsent is None:
                progress = None
                await PARK
            else:
                if progress is None:
                    progress = SendProgress((client, backend), engine.now + send_timeout)
                silent = task.expires
                task.expires = min(silent, progress.until)
                try:
                    await PARK
                except TimedOut:
                    if engine.now >= silent:
                        raise
                    if (stalled := progress.stalled()) is not None:
                        raise ProxyError(stalled.source, 504, f"the {stalled.source} stopped reading") from None
                    progress = None
                task.expires = silent
    except ProxyError:
        client.abort()
        backend.abort()
        raise
    assert first is not None
    return first
