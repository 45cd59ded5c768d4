"""Activate renewed certificates without a reload: files are checked every second.

They are read once two looks find the same: a chain and its key are written one after the other. If they are invalid,
the last good ones stay.
"""

import logging
from dataclasses import replace
from pathlib import Path

import trio

from balancer.config.model import Config
from balancer.control.activation import Activation
from balancer.control.certificates import read_certificates, refuse_outdated
from balancer.control.events import Events
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import Refused

logger = logging.getLogger("balancer.reload")

INTERVAL = 1.0
"""Seconds between two checks."""

Stamp = tuple[int, int, int]
"""Inode, time of the last change in ns, and size of a file."""


class CertificateWatch:
    """Watches the files of the active configuration; ``lock`` is held while certificates change."""

    def __init__(self, registry: WorkerRegistry, activation: Activation, events: Events, lock: trio.Lock) -> None:
        self._registry = registry
        self._activation = activation
        self._events = events
        self._lock = lock
        self._seen = self._stamps()

    def read(self) -> None:
        """Note that the files were read just now."""
        self._seen = self._stamps()

    async def run(self) -> None:
        """Watch until cancelled."""
        before = self._seen
        while True:
            await trio.sleep(INTERVAL)
            try:
                stamps = await trio.to_thread.run_sync(self._stamps)
                if stamps == before != self._seen:
                    async with self._lock:
                        self._seen = stamps
                        await self._renew()
                before = stamps
            except Exception:  # the next check may succeed
                logger.exception("looking at the certificate files failed")

    async def _renew(self) -> None:
        active = self._registry.active
        try:
            certificates, clients = await trio.to_thread.run_sync(read_certificates, active.config)
            refuse_outdated(active.config, active.files.certificates, certificates)
            renewed = replace(active, files=replace(active.files, certificates=certificates, clients=clients))
            self._activation.reserve(renewed)
        except Refused as error:
            logger.error("certificates have changed and are not taken, the last good ones stay: %s", error)
            self._events.emit("certificate", f"not taken, the last good ones stay: {error}", ok=False)
            return
        if renewed != active:
            self._activation.activate(renewed)
            logger.info("certificates have changed and are active")
            self._events.emit("certificate", "new certificates are active", ok=True)

    def _stamps(self) -> dict[Path, Stamp | None]:
        """Return what changes when a certificate file does."""
        return {path: _stamp(path) for path in _files(self._registry.active.config)}


def _files(config: Config) -> list[Path]:
    tables = [listener.tls for listener in config.listener if listener.tls is not None]
    pairs = [path for tls in tables for each in tls.certificates for path in (each.cert, each.key)]
    return pairs + [path for tls in tables for path in (tls.client_ca, tls.client_crl) if path is not None]


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
