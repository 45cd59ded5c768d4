"""What must hold between the keys of a pool that say when a backend has to stay out, and for how long."""

from collections.abc import Iterator

from balancer.config.finding import Finding, Key
from balancer.config.model import Pool


def ejection_findings(at: Key, pool: Pool) -> Iterator[Finding]:
    """About ``pool.health``, which is ``at``."""
    health, passive = pool.health, pool.health.passive
    mode = (*at, "passive", "mode")
    if health.max_ejection_time < health.ejection_time:
        message = "the longest time out is at least ejection_time, the first one"
        yield Finding((*at, "max_ejection_time"), message, ((*at, "ejection_time"),))
    if passive.mode == "off":
        for key in sorted(passive.model_fields_set - {"mode"}):
            message = 'has no effect: passive health is off; give it mode = "dry_run" or "on"'
            yield Finding((*at, "passive", key), message, (mode,), warning=True)
        return
    if not passive.outcomes:
        yield Finding((*at, "passive", "outcomes"), 'nothing is a failure: name some, or take mode = "off"', (mode,))
    if not passive.consecutive and not passive.failure_rate:
        message = 'with failure_rate = 0 as well nothing ejects: give one of them a value, or take mode = "off"'
        yield Finding((*at, "passive", "consecutive"), message, (mode, (*at, "passive", "failure_rate")))
    if passive.mode == "on" and len(pool.backend) == 1:
        message = "the only backend of a pool is never ejected"
        yield Finding(mode, message, warning=True)
