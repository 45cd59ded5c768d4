"""The open tunnels of a worker: what is reported of them to control, and how control ends them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import trio

from balancer.ipc.messages import Ended, Opened
from balancer.ipc.wire import Message
from balancer.net.engine import Closed, Engine, Task
from balancer.net.transport import Transport
from balancer.pool.backend import Backend
from balancer.pool.leases import Lease
from balancer.pool.pool import Pool


@dataclass(eq=False, slots=True)
class Tunnel:
    """An open tunnel."""

    task: Task
    """The task that relays."""
    client: str
    """The address of its client."""
    listener: str
    pool: Pool
    token: bytes | None
    backend: Backend
    transport: Transport
    """To the backend."""
    since: float
    """Unix time."""
    token_from: str = ""
    """The place in the request where the token was."""
    number: int = 0
    lease: Lease | None = None


class TunnelRegistry:
    """All open tunnels by number."""

    def __init__(self, engine: Engine) -> None:
        self.tunnels: dict[int, Tunnel] = {}
        self._engine = engine
        self._numbers = count(1)
        self.post: Callable[[Message], None] = _discard
        """Sends to control, while there is a link."""

    def all(self) -> tuple[Opened, ...]:
        """Return the messages of all open tunnels."""
        return tuple(map(_opened, self.tunnels.values()))

    def traffic(self, sessions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Return the bytes that the backends of these sessions have been sent, and have sent."""
        found = ((number, self.tunnels.get(number)) for number in sessions)
        return {number: (each.transport.sent, each.transport.received) for number, each in found if each is not None}

    def open(self, tunnel: Tunnel) -> None:
        """Add a tunnel that has been opened: give it its number, and its user a lease."""
        tunnel.number = next(self._numbers)
        tunnel.lease = tunnel.pool.leases.open(tunnel.token, tunnel, tunnel.backend.name)
        tunnel.backend.tunnels += 1
        self.tunnels[tunnel.number] = tunnel
        self.post(_opened(tunnel))

    def close(self, tunnel: Tunnel) -> None:
        """Remove a tunnel that has ended."""
        tunnel.backend.tunnels -= 1
        del self.tunnels[tunnel.number]
        tunnel.pool.leases.close(tunnel.lease, tunnel, self._engine.now)
        self.post(Ended(tunnel.number))

    async def end_slowly(self, numbers: Sequence[int], why: str, spread: float) -> None:
        """End tunnels one by one, over ``spread`` seconds."""
        for number in numbers:
            self.end([number], why)
            await trio.sleep(spread / len(numbers))

    def end(self, numbers: Iterable[int], why: str) -> None:
        """End tunnels from outside. Their users are to return somewhere else, so their leases do not linger."""
        ended = [tunnel for number in numbers if (tunnel := self.tunnels.get(number)) is not None]
        for tunnel in ended:
            if tunnel.lease is not None:
                tunnel.pool.leases.evict(tunnel.lease, [tunnel])
        for tunnel in ended:
            self._engine.throw(tunnel.task, Closed(why))


def _opened(tunnel: Tunnel) -> Opened:
    return Opened(
        tunnel.number,
        tunnel.pool.name,
        tunnel.token,
        tunnel.backend.name,
        tunnel.client,
        tunnel.listener,
        tunnel.since,
        tunnel.token_from,
    )


def _discard(_: Message) -> None:
    """Send nothing, as there is no link: control gets all tunnels when the next one is there."""
