"""Passive health: backends that fail real traffic while their probes pass. Pure.

Some facts. The rules are those of Envoy's outlier detection: failures in a row for a backend that does not work at all,
a share of failures within an interval for one that works now and then, a limit on how much of a pool may be out, and a
dry run that only counts. haproxy's ``observe`` with ``error-limit`` is the first of them.

What Envoy leaves open is who fails. A user with a page that crashes its host, or an outsider with made-up tokens, may
cause any number of failures on every host, so the failures of the few clients with the most never count: an address or
a token, whichever takes more away, and a group smaller than ``clients`` cannot eject anything, whatever it does. Errors
a client is to blame for have not been counted in the first place.

"In a row" means: while there was not one answer between two looks, for the order of outcomes within so short a time is
not known, in several processes even less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from balancer.config import model
from balancer.health.ejection import Ejection
from balancer.health.tally import Tally
from balancer.health.tracker import HealthTracker

Outcome = Literal["ejected", "dry_run", "limit"]
"""What became of an outlier: ejected, only counted, or left in because too many are out."""


@dataclass(frozen=True)
class Outlier:
    """A backend that was found out."""

    backend: str
    why: str
    outcome: Outcome


class _Suspect:
    """What is held against one backend."""

    __slots__ = ("ends", "row", "spared", "window")

    def __init__(self) -> None:
        self.row = Tally()
        """Failures without an answer between them."""
        self.window = Tally()
        """All since the interval began, which ``ends`` then."""
        self.ends = 0.0
        self.spared = Ejection()
        """For how long it would be out, were it not for the dry run or the limit: meanwhile it is not judged again."""

    def hear(self, tally: Tally, rules: model.Passive, now: float) -> str:
        """Take a tally into account; why the backend should go, or an empty string."""
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
        """Begin anew."""
        self.row, self.window, self.ends = Tally(), Tally(), 0.0


class Outliers:
    """Finds the outliers of one pool, by its present settings in ``config``."""

    def __init__(self, config: model.Health) -> None:
        self.config = config
        self._suspects: dict[str, _Suspect] = {}

    def look(self, tallies: Mapping[str, Tally], healths: Mapping[str, HealthTracker], now: float) -> list[Outlier]:
        """Judge by what came since the last look, and eject who has to go; ``healths`` are those of all backends."""
        rules, found = self.config.passive, []
        self._suspects = {name: self._suspects.get(name) or _Suspect() for name in tallies}
        for name, suspect in self._suspects.items():
            health = healths[name]
            if health.down or health.ejection.out(now) or suspect.spared.out(now):
                suspect.forget()
            elif why := suspect.hear(tallies[name], rules, now):
                suspect.forget()
                outcome = self._outcome(health, healths, now)
                ejection = health.ejection if outcome == "ejected" else suspect.spared
                ejection.eject(f"ejected: {why}", now, self.config.ejection_time, self.config.max_ejection_time)
                health.checks.ejections[outcome] += 1
                found.append(Outlier(name, why, outcome))
        return found

    def _outcome(self, health: HealthTracker, healths: Mapping[str, HealthTracker], now: float) -> Outcome:
        """What becomes of an outlier. Of every pool one backend may go, and the last that works never."""
        if self.config.passive.mode == "dry_run":
            return "dry_run"
        out = sum(each.ejection.out(now) for each in healths.values())
        working = any(not (each is health or each.down or each.ejection.out(now)) for each in healths.values())
        allowed = max(1, int(self.config.passive.max_ejected * len(healths)))
        return "ejected" if working and out < allowed else "limit"
