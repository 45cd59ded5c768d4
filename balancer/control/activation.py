"""Activate a configuration: keep it where it outlives this process, and send it to the workers."""

import logging

from balancer.control.active_config import ActiveConfig, Remembered, dump
from balancer.control.events import Events
from balancer.control.lifecycle import Lifecycle
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import Refused
from balancer.store.memory_file import MemoryFile

logger = logging.getLogger("balancer")


class Activation:
    """Activates configurations. ``memory`` belongs to the supervisor; ``folder`` holds the daemon's state."""

    def __init__(
        self, registry: WorkerRegistry, memory: MemoryFile, events: Events, folder: str, lifecycle: Lifecycle
    ) -> None:
        self._registry = registry
        self._memory = memory
        self._events = events
        self._folder = folder
        self._lifecycle = lifecycle

    def reserve(self, active: ActiveConfig) -> None:
        """Make room to remember ``active``, before anything changes. Raise ``Refused`` if there is none."""
        self._memory.reserve(self._dump(active))

    def remember(self, active: ActiveConfig) -> None:
        """Have a control process that is started again go on with ``active``. Raise ``OSError``."""
        self._memory.save(self._dump(active))

    def be_lame(self, who: str, *, lame: bool) -> None:
        """Ask for no new clients, or for new ones again. Raise ``OSError``."""
        if self._lifecycle.draining or self._lifecycle.lame_until is not None:
            raise Refused("the daemon is stopping")
        changed = lame != self._lifecycle.lame
        self._lifecycle.lame = lame
        self.remember(self._registry.active)
        if changed:
            text = "the daemon asks for no new clients" if lame else "the daemon takes new clients again"
            logger.info("%s, by %s", text, who)
            self._events.emit("drain", f"{text}, by {who}", drain=lame, who=who)

    def _dump(self, active: ActiveConfig) -> bytes:
        lifecycle = self._lifecycle
        return dump(Remembered(active, self._folder, lifecycle.started, lifecycle.began, lifecycle.lame))

    def activate(self, active: ActiveConfig) -> None:
        """Send ``active`` to all workers; a worker that rejects it gets it again later."""
        try:
            self.remember(active)
        except OSError as error:  # it is active anyway; only a restart of control would not know it
            logger.error("the active configuration cannot be remembered: %s", error.strerror)
        self._registry.reconfigure(active)

    def announce(self, active: ActiveConfig, before: ActiveConfig | None = None) -> None:
        """Log which addresses are served now, and which are no longer."""
        former = before.keys if before is not None else {}
        served = {key for keys in active.keys.values() for key in keys}
        for name, keys in former.items():
            for key in keys:
                if key not in served:
                    logger.info('listener "%s" accepts no more on %s', name, key, extra={"listener": name})
                    text = f"listener {name} accepts no more on {key}"
                    self._events.emit("listener", text, listener=name, address=key, accepts=False)
        for listener in active.config.listener:
            for key in active.keys[listener.name]:
                for address in active.bound[key] if key not in former.get(listener.name, ()) else ():
                    about = {"listener": listener.name}
                    logger.info('listener "%s" accepts on %s', listener.name, address, extra=about)
                    text = f"listener {listener.name} accepts on {address}"
                    self._events.emit("listener", text, listener=listener.name, address=address, accepts=True)
