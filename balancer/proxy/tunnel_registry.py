"""The roll of open tunnels of a worker: what control is told of them, and how it ends them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from balancer.ipc.messages import Attached, Ended, Opened
from balancer.net.engine import Closed, Engine, Task
from balancer.net.transport import Transport
from balancer.pool.backend import Backend
from balancer.pool.leases import Lease
from balancer.pool.pool import Pool


class Holder(Protocol):
    """Whose tunnel it is."""

    task: Task
    address: str


@dataclass(eq=False, slots=True)
class Tunnel:
    """An open tunnel."""

    client: Holder
    listener: str
    pool: Pool
    token: bytes | None
    backend: Backend
    transport: Transport
    """To the backend."""
    since: float
    """Unix time."""
    number: int = 0
    lease: Lease | None = None


class TunnelRegistry:
    """All open tunnels by number."""

    def __init__(self, engine: Engine) -> None:
        self.tunnels: dict[int, Tunnel] = {}
        self._engine = engine
        self._numbers = count(1)
        self.post: Callable[[object], None] = _nobody
        """Tells control, while there is one."""

    def all(self) -> Attached:
        """What control is told when it comes."""
        return Attached(tuple(map(_opened, self.tunnels.values())))

    def open(self, tunnel: Tunnel) -> None:
        """A tunnel has been opened: it gets its number, and its user a lease."""
        tunnel.number = next(self._numbers)
        tunnel.lease = tunnel.pool.leases.open(tunnel.token, tunnel, tunnel.backend.name)
        tunnel.backend.tunnels += 1
        self.tunnels[tunnel.number] = tunnel
        self.post(_opened(tunnel))
        if tunnel.lease is not None and len(tunnel.lease.sessions) > 1:
            for other in tunnel.pool.left_behind(tunnel.lease, tunnel.backend.name):
                assert isinstance(other, Tunnel)
                self._engine.throw(other.client.task, Closed(f"the user has moved to {tunnel.backend.name}"))

    def close(self, tunnel: Tunnel) -> None:
        """It has ended."""
        tunnel.backend.tunnels -= 1
        del self.tunnels[tunnel.number]
        tunnel.pool.leases.close(tunnel.lease, tunnel, self._engine.now)
        self.post(Ended(tunnel.number))

    def end(self, numbers: Iterable[int], why: str) -> None:
        """End tunnels from outside; their users return somewhere else, so no lease lingers."""
        ended = [tunnel for number in numbers if (tunnel := self.tunnels.get(number)) is not None]
        for tunnel in ended:
            if tunnel.lease is not None:
                tunnel.pool.leases.evict(tunnel.lease, [tunnel])
        for tunnel in ended:
            self._engine.throw(tunnel.client.task, Closed(why))


def _opened(tunnel: Tunnel) -> Opened:
    return Opened(tunnel.number, tunnel.pool.name, tunnel.token, tunnel.backend.name)


def _nobody(_: object) -> None:
    """Control is not there; it gets to know everything when it comes."""
