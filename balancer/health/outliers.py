"""Passive health: backends that fail real traffic while their probes pass. Pure.

Some facts. The rules are those of Envoy's outlier detection: failures in a row for a backend that does not work at all,
a share of failures within an interval for one that works now and then, a limit on how much of a pool may be out, and a
dry run that only counts. haproxy's ``observe`` with ``error-limit`` is the first of them.

Envoy does not ask whose requests fail. A user with a page that crashes its host, or an outsider with made-up tokens,
may cause any number of failures on every host. So the failures of the few clients with the most never count, by address
or by token, whichever excludes more: a group smaller than ``clients`` cannot eject anything, whatever it does. Errors
that are the client's fault have not been counted in the first place.

"In a row" means that no request was answered between two checks, as the order of outcomes within so short a time is not
known, least of all over several processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from balancer.config.pool import HealthConfig, PassiveConfig
from balancer.health.ejection import Ejection
from balancer.health.tally import Tally
from balancer.health.tracker import HealthTracker

Outcome = Literal["ejected", "dry_run", "limit"]
"""What happened to an outlier: it was ejected, only counted, or left in because too many are out."""


@dataclass(frozen=True)
class Outlier:
    """A backend whose traffic fails much more than it should."""

    backend: str
    why: str
    outcome: Outcome


class _Suspect:
    """The failures of one backend."""

    __slots__ = ("ends", "row", "spared", "window")

    def __init__(self) -> None:
        self.row = Tally()
        """Failures in a row."""
        self.window = Tally()
        """All outcomes since the interval began, which ends at ``ends``."""
        self.ends = 0.0
        self.spared = Ejection()
        """How long it would be out without the dry run or the limit; meanwhile it is not checked again."""

    def add(self, tally: Tally, rules: PassiveConfig, now: float) -> str:
        """Add a tally; return why the backend should be ejected, or an empty string."""
        if not self.ends:
            self.ends = now + rules.interval
        if tally.answers:
            self.row = Tally()
        else:
            self.row.add(tally)
        self.window.add(tally)
        others = rules.clients - 1
        in_a_row = self.row.failures_beyond(others)
        if 0 < rules.consecutive <= in_a_row:
            return f"{self.row.failures} failures in a row"
        if now < self.ends:
            return ""
        failures = self.window.failures_beyond(others)
        requests = self.window.answers + failures
        self.window, self.ends = Tally(), now + rules.interval
        if requests and requests >= rules.min_requests and failures >= rules.failure_rate * requests > 0:
            return f"{failures / requests:.0%} of {requests} requests failed"
        return ""

    def forget(self) -> None:
        """Start over."""
        self.row, self.window, self.ends = Tally(), Tally(), 0.0


class Outliers:
    """Finds the outliers of one pool, by the settings in ``config``."""

    def __init__(self, config: HealthConfig) -> None:
        self.config = config
        self._suspects: dict[str, _Suspect] = {}

    def look(self, tallies: Mapping[str, Tally], healths: Mapping[str, HealthTracker], now: float) -> list[Outlier]:
        """Check the outcomes since the last call, and eject outliers; ``healths`` are those of all backends."""
        rules, found = self.config.passive, []
        self._suspects = {name: self._suspects.get(name) or _Suspect() for name in tallies}
        for name, suspect in self._suspects.items():
            health = healths[name]
            if health.down or health.ejection.out(now) or suspect.spared.out(now):
                suspect.forget()
            elif why := suspect.add(tallies[name], rules, now):
                suspect.forget()
                outcome = self._outcome(health, healths, now)
                ejection = health.ejection if outcome == "ejected" else suspect.spared
                ejection.eject(f"ejected: {why}", now, self.config.ejection_time, self.config.max_ejection_time)
                health.checks.ejections[outcome] += 1
                found.append(Outlier(name, why, outcome))
        return found

    def _outcome(self, health: HealthTracker, healths: Mapping[str, HealthTracker], now: float) -> Outcome:
        """Return what happens to an outlier. One of a pool may always be ejected, but never the last that works."""
        if self.config.passive.mode == "dry_run":
            return "dry_run"
        out = sum(each.ejection.out(now) for each in healths.values())
        working = any(not (each is health or each.down or each.ejection.out(now)) for each in healths.values())
        allowed = max(1, int(self.config.passive.max_ejected * len(healths)))
        return "ejected" if working and out < allowed else "limit"
