"""Apply a reload to control's own log, and warn about limits."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import trio

from balancer.config.model import Config
from balancer.control.reload import Participant, Prepared
from balancer.control.sockets import workers_of
from balancer.daemon.descriptors import too_few
from balancer.daemon.logs import start_logs
from balancer.proxy.log_datagrams import check_receiver
from balancer.proxy.log_target import check_file

logger = logging.getLogger("balancer")


class LogReload(Participant):
    """Applies the ``log`` table of the configuration."""

    async def prepare(self, old: Config, new: Config) -> Prepared:
        await trio.to_thread.run_sync(check_target, new.log.access)  # a network file system may hang
        return _PreparedLog(old, new)


def check_target(target: str | Path) -> None:
    """Raise ``Refused`` if lines of the access log cannot be written there."""
    if isinstance(target, Path):
        check_file(target)
    elif target.startswith(("journal", "syslog:")):
        check_receiver(target)


@dataclass(frozen=True)
class _PreparedLog:
    old: Config
    new: Config

    def activate(self) -> None:
        if self.new.log != self.old.log:
            start_logs(os.environ, self.new.log.level, self.new.log.format)
        if self.new.limits != self.old.limits or self.new.workers != self.old.workers:
            warn_of_descriptors(self.new)

    def abandon(self) -> None:
        pass


def warn_of_descriptors(config: Config) -> None:
    """Log a warning if the workers cannot have as many descriptors as the limits need."""
    warning = too_few(config.limits.max_connections, workers_of(config))
    if warning:
        logger.warning("%s", warning)
