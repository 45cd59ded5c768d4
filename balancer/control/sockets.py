"""The listening sockets and workers that a configuration needs, and the supervisor, which has them."""

import os
from collections.abc import Mapping
from typing import Protocol

from balancer.config.model import Config
from balancer.config.scalars import Address


class SocketSource(Protocol):
    """The supervisor, as control needs it; one question at a time."""

    async def want(self, sockets: Mapping[str, Address], workers: int) -> Mapping[str, tuple[str, ...]]:
        """Prepare these sockets; return where they are bound, by key. Raise ``Refused``."""

    async def attempt(self, sockets: Mapping[str, Address], workers: int) -> None:
        """Raise ``Refused`` as ``want`` would, but prepare nothing."""

    async def commit(self, config: Config) -> int:
        """Activate what was prepared last; return the version of the sockets."""

    async def abort(self) -> None:
        """Forget what was prepared last."""

    async def reloading(self) -> None:
        """Report that a reload begins, for the service manager."""

    async def reloaded(self) -> None:
        """Report that a reload is over, successful or not."""


def socket_keys(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the keys of each listener's sockets: their addresses, made unique where the system chooses the port."""
    return {
        listener.name: tuple(
            str(address) if address.port else f"{listener.name} {number} {address}"
            for number, address in enumerate(listener.bind)
        )
        for listener in config.listener
    }


def addresses_of(config: Config) -> dict[str, Address]:
    """Return the address of each key."""
    keys = socket_keys(config)
    return {
        key: address
        for listener in config.listener
        for key, address in zip(keys[listener.name], listener.bind, strict=True)
    }


def workers_of(config: Config) -> int:
    """Return the number of workers."""
    return len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers
