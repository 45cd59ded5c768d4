"""The supervisor, as control speaks to it."""

from collections.abc import Mapping
from typing import TypeVar

import trio

from balancer.config.model import Config
from balancer.config.scalars import Address
from balancer.control.sockets import SocketSource, workers_of
from balancer.errors import InUse, Refused
from balancer.ipc.channel import Channel
from balancer.ipc.supervision import (
    AbortSockets,
    CommitSockets,
    Reloaded,
    Reloading,
    SocketsCommitted,
    SocketsGranted,
    SocketsRefused,
    WantSockets,
    WantUpgrade,
)
from balancer.upgrade.upgrader import UpgradeSource

Answer = SocketsGranted | SocketsRefused | SocketsCommitted
T = TypeVar("T", bound=Answer)


class SupervisorClient(SocketSource, UpgradeSource):
    """Speaks to it over a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = trio.Lock()
        self._answers, self._arrived = trio.open_memory_channel[Answer](1)

    async def want(self, sockets: Mapping[str, Address], workers: int) -> dict[str, tuple[str, ...]]:
        return (await self._ask(_question(sockets, workers), SocketsGranted)).bound

    async def attempt(self, sockets: Mapping[str, Address], workers: int) -> None:
        await self._ask(_question(sockets, workers, trial=True), SocketsGranted)

    async def commit(self, config: Config) -> int:
        log = config.log
        question = CommitSockets(workers_of(config), config.timeouts.hang, log.level, log.format, config.timeouts.lame)
        return (await self._ask(question, SocketsCommitted)).version

    async def abort(self) -> None:
        await self._channel.send(AbortSockets())

    async def reloading(self) -> None:
        await self._channel.send(Reloading())

    async def reloaded(self) -> None:
        await self._channel.send(Reloaded())

    async def upgrade(self, wanted: WantUpgrade) -> None:
        await self._channel.send(wanted)

    def answered(self, answer: Answer) -> None:
        """Pass on an answer of the supervisor."""
        self._answers.send_nowait(answer)

    def lost(self) -> None:
        """Note that the supervisor is gone."""
        self._answers.close()

    async def _ask(self, question: WantSockets | CommitSockets, expected: type[T]) -> T:
        async with self._lock:
            await self._channel.send(question)
            try:
                answer = await self._arrived.receive()
            except trio.EndOfChannel:
                raise Refused("the supervisor is gone") from None
        if isinstance(answer, SocketsRefused):
            raise InUse(answer.reason) if answer.in_use else Refused(answer.reason)
        assert isinstance(answer, expected)
        return answer


def _question(sockets: Mapping[str, Address], workers: int, *, trial: bool = False) -> WantSockets:
    return WantSockets({key: (address.host, address.port) for key, address in sockets.items()}, workers, trial)
