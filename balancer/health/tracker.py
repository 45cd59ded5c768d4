"""How a backend is: what probes and the host itself say about it, and what follows. Pure.

Some facts. One odd probe must not move users, so a state changes only after ``fall`` (or ``rise``) probes in a row that
contradict it, as haproxy counts (configuration manual, 5.2); meanwhile probes come at ``fast_interval``, to be sure
soon. Nothing is known of a new backend, so there one probe decides. All backends are probed at once at the start; the
wait after that is drawn from the whole interval, and later waits vary by ``jitter``, so that the probes of many
backends spread and stay spread.

What the host wishes is separate from how it is: a host that asks to be drained is up, and its users stay. And one that
has been out comes back slowly, if it is asked to: it begins with a few of its points, already while it is out, so that
no moment lies between its return and the ring that says so.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from balancer.config import model
from balancer.health.availability import UNKNOWN, Availability, RequestedState
from balancer.health.ejection import Ejection
from balancer.health.results import AgentReport, Mode, Result, Verdict

TRANSITIONS: dict[tuple[Verdict, bool], tuple[Verdict, str]] = {
    (Verdict.UNKNOWN, True): (Verdict.UP, "first"),
    (Verdict.UNKNOWN, False): (Verdict.DOWN, "first"),
    (Verdict.UP, True): (Verdict.UP, ""),
    (Verdict.UP, False): (Verdict.DOWN, "fall"),
    (Verdict.DOWN, True): (Verdict.UP, "rise"),
    (Verdict.DOWN, False): (Verdict.DOWN, ""),
}
"""From the verdict and whether a probe passed to the verdict this speaks for, and which threshold it has to reach."""


@dataclass(slots=True)
class Checks:
    """What only grows of a backend's health; it outlives what is held of the backend."""

    passed: int = 0
    """Probes since the start; those that did not pass are ``failed``."""
    failed: int = 0
    changes: int = 0
    """Changes of state."""
    ejections: Counter[str] = field(default_factory=Counter)
    """Times that its traffic showed it to be an outlier, by what became of it: see ``pool.outliers``."""


SLOW_STEPS = 20
"""Steps of a slow start, as haproxy's: each is a new ring."""


def probed(pool: model.Pool, backends: Iterable[str]) -> list[str]:
    """Those of them that are probed at all; also such as are not in the configuration."""
    if pool.health.type == "off":
        return []
    left_alone = {each.name for each in pool.backend if not each.check}
    return [name for name in backends if name not in left_alone]


def unprobed(pool: model.Pool, backends: Iterable[str]) -> dict[str, Availability]:
    """Return the availability of backends that are new: those that are probed are unknown at first."""
    return dict.fromkeys(probed(pool, backends), UNKNOWN)


def judged_by(pool: model.Pool, backend: str) -> model.Health:
    """How this backend is judged: as its pool, but for what is said of it alone."""
    own = next((each.health for each in pool.backend if each.name == backend), model.BackendHealth())
    return pool.health.model_copy(update=own.model_dump(exclude_none=True))


def spread(interval: float, jitter: float, random: Random, *, first: bool) -> float:
    """A wait of about ``interval``; the ``first`` after everybody began at once is any part of it."""
    return interval * (random.random() if first else 1 + jitter * random.uniform(-1, 1))


class HealthTracker:
    """The state machine of one backend, which counts on in ``checks``."""

    __slots__ = (
        "_agent_mode",
        "_config",
        "_needed",
        "_out",
        "_probes",
        "_requested_state",
        "agent_down",
        "checks",
        "ejection",
        "percent",
        "returned",
        "seconds",
        "since",
        "state",
        "streak",
        "text",
    )

    def __init__(self, config: model.Health, checks: Checks | None = None) -> None:
        self.checks = Checks() if checks is None else checks
        self._requested_state: RequestedState = ""
        self._out = False
        self.ejection = Ejection()
        """How long it has to stay out, whatever probes say."""
        self.returned: float | None = None
        """When it last came back after it had been out; None if it never was."""
        self.state = Verdict.UNKNOWN
        self.since: float | None = None
        """When the state began; None while nothing is known."""
        self.streak = 0
        """Probes in a row that contradict the state."""
        self.text = ""
        """What the last probe came to, and ``seconds`` how long it took."""
        self.seconds = 0.0
        self._heed_nobody()
        self.configure(config)

    def configure(self, config: model.Health) -> None:
        """Be judged so by probes that begin anew; what is held of the backend holds until they disagree."""
        self._config = config
        self._needed = {"first": 1, "rise": config.rise, "fall": config.fall}
        self._probes = 0
        if config.agent.port is None:
            self._heed_nobody()

    def _heed_nobody(self) -> None:
        self._agent_mode: Mode = "ready"
        self.percent = 100
        """Share of the configured weight that the agent asks for."""
        self.agent_down = False

    def observe(self, result: Result, now: float, seconds: float = 0.0) -> bool:
        """Take a probe that took ``seconds`` into account; has the state changed?"""
        self.text, self.seconds = result.text, seconds
        self._probes += 1
        if result.ok:
            self.checks.passed += 1
            self._requested_state = result.requested_state
        else:
            self.checks.failed += 1
        target, threshold = TRANSITIONS[self.state, result.ok]
        self.streak = 0 if target is self.state else self.streak + 1
        changed = target is not self.state and self.streak >= self._needed[threshold]
        if changed:
            if target is Verdict.DOWN and self.state is Verdict.UP:
                self.ejection.went_down(now, self._config.ejection_time, self._config.max_ejection_time)
            self.state, self.since, self.streak = target, now, 0
            self.checks.changes += 1
        return changed

    def heed(self, report: AgentReport) -> None:
        """Take the agent's word into account."""
        if report.percent is not None:
            self.percent = report.percent
        if report.mode is not None:
            self._agent_mode = report.mode
        if report.down is not None:
            self.agent_down = report.down

    def restore(self, state: Verdict, since: float, text: str) -> None:
        """Begin with what was held of the backend before a restart, until probes prove otherwise."""
        self.state, self.since, self.text = state, since, text

    def delay(self, random: Random) -> float:
        """Seconds from the beginning of the last probe to that of the next."""
        config = self._config
        if self.streak:
            interval = config.fast_interval or config.interval
        elif self.state is Verdict.DOWN:
            interval = config.down_interval or config.interval
        else:
            interval = config.interval
        return spread(interval, config.jitter, random, first=self._probes <= 1)

    def stand(self, now: float) -> Availability:
        """What follows for users from now on; called after every change, and when time may have ended an ejection."""
        reason = ""
        if self.state is Verdict.DOWN:
            reason = f"unhealthy: {self.text}"
        elif self.agent_down:
            reason = "unhealthy: its agent says down"
        ejected = self.ejection.why if self.ejection.out(now) else ""
        out = bool(reason or ejected)
        if self._out and not out:
            self.returned = now
            self.ejection.returned(now)
        self._out = out
        unknown = UNKNOWN.reason if self.state is Verdict.UNKNOWN else ""
        return Availability(reason or unknown, down=bool(reason), ejected=ejected, requested_state=self.requested_state)

    def warmth(self, now: float) -> float:
        """Share of its points that the backend has, above 0 and at most 1, while it comes back slowly."""
        over = self._config.slow_start
        if over is None:
            return 1.0
        if self._out:
            return 1 / SLOW_STEPS
        if self.returned is None or now - self.returned >= over:
            return 1.0
        return (1 + int((now - self.returned) / over * SLOW_STEPS)) / SLOW_STEPS

    @property
    def out(self) -> bool:
        """Do probes, the agent or real traffic say that it cannot be used?"""
        return self._out

    @property
    def down(self) -> bool:
        """Probes or the agent say that it does not work."""
        return self.state is Verdict.DOWN or self.agent_down

    @property
    def requested_state(self) -> RequestedState:
        """What the host asks for, by its agent or in its answers to probes."""
        return self._requested_state if self._agent_mode == "ready" else self._agent_mode
