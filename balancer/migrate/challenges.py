"""ACME challenges that the old balancer answered from a folder: ``listener.acme_challenge``.

It comes after the rules of a listener, so rules that came after it in the old file leave its paths out.
"""

from collections.abc import Sequence
from dataclasses import replace

from balancer.config.settings import CHALLENGES
from balancer.migrate.match import Condition, Match
from balancer.migrate.steps import Step, first_route
from balancer.migrate.toml import TomlTable

ACTION = "acme_challenge"
"""The action of a step whose requests are answered from a folder."""
PLACE = Condition(path_prefix=(CHALLENGES,))


def write_challenges(listener: TomlTable, steps: Sequence[Step]) -> list[Step]:
    """Write where challenges are answered, that of the first such step; return the other steps."""
    at = next((number for number, step in enumerate(steps) if step.action[0] == ACTION), None)
    if at is None:
        return list(steps)
    listener.set(ACTION, {"folder": steps[at].action[1]}, steps[at].comment)
    later = [step for step in steps[at:] if step.action[0] != ACTION]
    rules = first_route(later)
    return [*steps[:at], *map(_without, later[:rules]), *later[rules:]]


def _without(step: Step) -> Step:
    """Return a step that leaves challenges out, if it could take them."""
    if step.match.both(Match(PLACE)) is None or PLACE in step.match.unless:
        return step
    return replace(step, match=replace(step.match, unless=(*step.match.unless, PLACE)))
