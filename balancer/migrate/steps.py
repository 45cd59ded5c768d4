"""What happens to requests, step by step: the first that matches decides. They become rules, and routes at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from balancer.migrate.match import ROUTE_KEYS, Match
from balancer.migrate.toml import TomlTable, Value


@dataclass(frozen=True)
class Step:
    """What happens to requests that match: a key of ``listener.rule`` and its value."""

    match: Match
    action: tuple[str, Value]
    comment: str = ""

    @property
    def is_route(self) -> bool:
        """Return whether a route can express it."""
        return self.action[0] == "pool" and not self.match.unless and self.match.when.keys <= set(ROUTE_KEYS)

    @property
    def denies_by_path(self) -> bool:
        """Return whether it refuses some paths."""
        return self.action[0] == "deny" and any(
            each.path or each.path_prefix for each in (self.match.when, *self.match.unless)
        )


def write_steps(listener: TomlTable, steps: Sequence[Step]) -> None:
    """Append rules, and routes for the last steps if all of these are routes."""
    first_route = len(steps)
    while first_route and steps[first_route - 1].is_route:
        first_route -= 1
    for number, step in enumerate(steps):
        table = listener.element("route" if number >= first_route else "rule", step.comment)
        for key, value in step.match.when.written().items():
            table.set(key, value)
        if step.match.unless:
            table.set("not", [each.written() for each in step.match.unless])
        table.set(*step.action)
