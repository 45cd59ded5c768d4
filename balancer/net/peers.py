"""Peers that vanish: a host that was cut off, a laptop that was closed.

They send nothing that says so, so we ask the kernel.

Two cases, and what we chose:

- Something was sent, and the peer acknowledges nothing. The kernel sends it again for some 15 minutes (tcp(7),
  ``tcp_retries2``). ``PeerWatch`` asks what has been acknowledged (``TCP_INFO``), with the checks of the deadlines:
  about once a second, and only for connections that have sent something since all they sent was acknowledged.
- Nothing is sent. Then the kernel probes the peer (``probe_when_silent``).

``TCP_USER_TIMEOUT`` would do the first, but changes the second: with it, Linux ends an idle connection at the first
probe that is not answered, so that one lost packet ends a live tunnel. A Unix socket has no peer that could vanish.
"""

import socket
import struct
from contextlib import suppress

from balancer.errors import ProxyError, Retry, Source
from balancer.net.engine import Engine
from balancer.net.transport import Transport

PROBES = 3
"""Unanswered probes after which a silent connection is given up."""
_SLICES = 10
"""Checks of the deadlines in which all connections are looked at once."""
_INFO = struct.Struct("=3xB20xI28xI60xQ16xI")
"""``struct tcp_info`` of linux/tcp.h: ``tcpi_probes``, ``tcpi_unacked``, ``tcpi_last_ack_recv`` (in ms),
``tcpi_bytes_acked`` and ``tcpi_notsent_bytes``."""


def probe_when_silent(sock: socket.socket, seconds: float) -> None:
    """Have the kernel probe the peer after so long without a byte, and then ``PROBES`` times (tcp(7))."""
    idle = min(max(round(seconds), 1), 32767)
    with suppress(OSError):  # a Unix socket, or a connection that has gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(idle // 6, 1))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class PeerWatch:
    """Ends connections whose peer has acknowledged nothing of what it was sent for ``timeout`` seconds.

    One that answers and takes no more is there: deadlines for slow readers are kept elsewhere.
    """

    def __init__(self, engine: Engine, timeout: float) -> None:
        self.timeout = timeout
        self._engine = engine
        self._round: list[Transport] = []
        """Connections still to be looked at in this round."""
        self._share = 1
        self._waiting: dict[Transport, tuple[int, float]] = {}
        """Bytes acknowledged by peers that have something left to acknowledge, and when that was so first."""
        engine.with_deadlines.append(self.look)

    def look(self, now: float) -> None:
        """Look at the next share of the connections."""
        if not self._round:
            self._round = [watch for watch in self._engine.watches() if isinstance(watch, Transport)]
            self._share = -(-len(self._round) // _SLICES)
            self._waiting = {transport: seen for transport, seen in self._waiting.items() if transport.fd >= 0}
        for _ in range(min(self._share, len(self._round))):
            transport = self._round.pop()
            if transport.confirmed != transport.sent and transport.fd >= 0:
                self._check(transport, now)

    def _check(self, transport: Transport, now: float) -> None:
        try:
            info = transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        except OSError:
            transport.confirmed = transport.sent
            return
        probes, unacknowledged, silent_ms, acknowledged, unsent = _INFO.unpack(info)
        if not (unacknowledged or unsent or transport.unsent is not None):
            transport.confirmed = transport.sent
            self._waiting.pop(transport, None)
            return
        known, since = self._waiting.get(transport, (-1, now))
        if known != acknowledged:
            self._waiting[transport] = acknowledged, now
        elif now - since < self.timeout or silent_ms < self.timeout * 1000 or transport.task is None:
            pass
        elif unacknowledged or probes > 1:  # else its window is full: one that is there and reads slowly answers probes
            self._end(transport)

    def _end(self, transport: Transport) -> None:
        """Raise an error in the task; a client that does not read has deadlines there already."""
        source, task = transport.source, transport.task
        assert task is not None
        if source is Source.BACKEND:
            why = "acknowledged nothing" if transport.unsent is None else "stopped reading"
            self._engine.throw(task, ProxyError(source, 504, f"the backend {why}", Retry.ELSEWHERE))
        elif transport.unsent is None:
            self._engine.throw(task, ProxyError(source, 499, "the client acknowledged nothing"))
