"""The supervisor, as control speaks to it."""

from collections.abc import Mapping
from typing import Any

import trio

from balancer.config.model import Config
from balancer.config.scalars import Address
from balancer.control.sockets import SocketSource, workers_of
from balancer.errors import InUse, Refused
from balancer.ipc.channel import Channel


class SupervisorClient(SocketSource):
    """Speaks to it over a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = trio.Lock()
        self._answers, self._arrived = trio.open_memory_channel[dict[str, Any]](1)

    async def want(self, sockets: Mapping[str, Address], workers: int) -> dict[str, tuple[str, ...]]:
        where = {key: [address.host, address.port] for key, address in sockets.items()}
        answer = await self._ask("want", sockets=where, workers=workers)
        if "why" in answer:
            raise InUse(answer["why"]) if answer["in_use"] else Refused(answer["why"])
        return {key: tuple(bound) for key, bound in answer["bound"].items()}

    async def commit(self, config: Config) -> int:
        log = {"log_level": config.log.level, "log_form": config.log.format}
        answer = await self._ask("commit", workers=workers_of(config), hang=config.timeouts.hang, **log)
        version: int = answer["version"]
        return version

    async def abort(self) -> None:
        await self._channel.send("abort")

    async def say(self, kind: str) -> None:
        await self._channel.send(kind)

    def answered(self, fields: dict[str, Any]) -> None:
        """Its answer has come."""
        self._answers.send_nowait(fields)

    def lost(self) -> None:
        """It is gone: no answer will come."""
        self._answers.close()

    async def _ask(self, kind: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON values
        async with self._lock:
            await self._channel.send(kind, **fields)
            try:
                return await self._arrived.receive()
            except trio.EndOfChannel:
                raise Refused("the supervisor is gone") from None
