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


def first_route(steps: Sequence[Step]) -> int:
    """Return the number of the first step from which on all are routes."""
    found = len(steps)
    while found and steps[found - 1].is_route:
        found -= 1
    return found


def write_steps(listener: TomlTable, steps: Sequence[Step]) -> None:
    """Append rules, and routes for the last steps if all of these are routes."""
    routes = first_route(steps)
    for number, step in enumerate(steps):
        table = listener.element("route" if number >= routes else "rule", step.comment)
        for key, value in step.match.when.written().items():
            table.set(key, value)
        if step.match.unless:
            table.set("not", [each.written() for each in step.match.unless])
        table.set(*step.action)
