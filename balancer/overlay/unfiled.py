"""What is active although the configuration file says otherwise: what operators decided at run time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from balancer.config.local_time import format_time
from balancer.overlay.overlay import Origin, Overlay, origin_key


@dataclass(frozen=True)
class Unfiled:
    """A decision about a backend that is not in the file."""

    backend: str
    text: str
    """Such as ``ide-06 is not in the file, added``, to be followed by who did it and when."""
    who: str
    """Empty if it is not known."""
    at: float | None
    """Unix time; None if it is not known."""

    def __str__(self) -> str:
        return f"{self.text} by {self.who} on {format_time(self.at)}" if self.at is not None else self.text


def unfiled(overlay: Overlay, configured: Mapping[str, float], now: float) -> Iterator[Unfiled]:
    """Yield what ``overlay`` decides against a configuration with the weights ``configured``."""

    def noted(backend: str, text: str, origin: Origin | None) -> Unfiled:
        return Unfiled(backend, text, origin.who if origin else "", origin.at if origin else None)

    for name in overlay.added:
        if name not in configured:
            yield noted(name, f"{name} is not in the file, added", overlay.origins.get(origin_key("added", name)))
    for name, weight in overlay.live_weights(configured, now).items():
        ramp = overlay.weights.get(name)
        written = configured[name] if name in configured else overlay.added[name].weight
        if ramp is None or weight == ramp.target == written:
            continue
        origin = overlay.origins.get(origin_key("weight", name))
        if name not in configured:
            yield noted(name, f"{name} was added with weight {written:g}, set to {ramp.target:g}", origin)
        elif ramp.target == 0:
            yield noted(name, f"{name} has weight {written:g} in the file, removed from the ring", origin)
        else:
            yield noted(name, f"{name} has weight {written:g} in the file, set to {ramp.target:g}", origin)
    for name, state in overlay.states.items():
        if name in configured or name in overlay.added:
            origin = overlay.origins.get(origin_key("state", name))
            yield noted(name, f"{name} is ready in the file, set to {state.state}", origin)
