"""The health of a backend, from its probes and its agent, and what follows for users. Pure.

Some facts. One odd probe must not move users, so a state changes only after ``fall`` (or ``rise``) probes in a row that
contradict it, as haproxy counts (configuration manual, 5.2); meanwhile it is probed at ``fast_interval``, to be sure
soon. Nothing is known of a new backend, so there one probe decides. All backends are probed at once at the start; the
wait after that is drawn from the whole interval, and later waits vary by ``jitter``, so that the probes of many
backends spread and stay spread.

The state that a host requests is separate from its health: a host that asks to be drained is up, and its users stay.

A host that has been out may come back slowly (``slow_start``): it begins with a few of its points, already while it is
out, so that it never has all of them for a moment when it returns. That spares a cold host the users whom others have
carried meanwhile. Where there were no others, because the whole pool was out or the daemon has just started, it would
only send users past the host that has their files; so every host of such an outage has all its points throughout.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from balancer.config.pool import BackendHealthConfig, HealthConfig, PoolConfig
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
"""By the verdict and whether a probe passed: the verdict that this suggests, and the threshold to be reached first."""


@dataclass(slots=True)
class Checks:
    """Counters of a backend's health, which outlive its state."""

    passed: int = 0
    """Probes that passed since the start; the others have ``failed``."""
    failed: int = 0
    changes: int = 0
    """Changes of state."""
    ejections: Counter[str] = field(default_factory=Counter)
    """Times that it was an outlier, by what happened then: see ``health.outliers``."""
    outage: bool = False
    """It has not been up since the whole pool was out, or since the daemon started."""


SLOW_STEPS = 20
"""Steps of a slow start, as haproxy's: each is a new ring."""


def probed(pool: PoolConfig, backends: Iterable[str]) -> list[str]:
    """Return those of ``backends`` that are probed; they need not be in the configuration."""
    if pool.health.type == "off":
        return []
    left_alone = {each.name for each in pool.backend if not each.check}
    return [name for name in backends if name not in left_alone]


def unprobed(pool: PoolConfig, backends: Iterable[str]) -> dict[str, Availability]:
    """Return the availability of backends that are new: those that are probed are unknown at first."""
    return dict.fromkeys(probed(pool, backends), UNKNOWN)


def judged_by(pool: PoolConfig, backend: str) -> HealthConfig:
    """Return the health settings of a backend: those of its pool, except for its own."""
    own = next((each.health for each in pool.backend if each.name == backend), BackendHealthConfig())
    return pool.health.model_copy(update=own.model_dump(exclude_none=True))


def spread(interval: float, jitter: float, random: Random, *, first: bool) -> float:
    """Return a wait of about ``interval``; the ``first``, after all began at once, is any part of it."""
    return interval * (random.random() if first else 1 + jitter * random.uniform(-1, 1))


class HealthTracker:
    """The state machine of one backend. Its counters go on from ``checks``."""

    __slots__ = (
        "_agent_mode",
        "_config",
        "_needed",
        "_out",
        "_passed",
        "_probe_percent",
        "_probes",
        "_requested_state",
        "agent_down",
        "checks",
        "ejection",
        "hash",
        "percent",
        "returned",
        "seconds",
        "since",
        "state",
        "streak",
        "text",
    )

    def __init__(self, config: HealthConfig, checks: Checks | None = None) -> None:
        self.checks = Checks() if checks is None else checks
        self._requested_state: RequestedState = ""
        self._probe_percent = 100
        self.hash = ""
        """Name of the hash by which it says that it places tokens itself."""
        self._out = False
        self._passed = False
        self.ejection = Ejection()
        """How long it has to stay out, even if it passes its probes."""
        self.returned: float | None = None
        """When it last came back to hosts that had carried its users; None if there was no such time."""
        self.state = Verdict.UNKNOWN
        self.since: float | None = None
        """When the state began; None while nothing is known."""
        self.streak = 0
        """Probes in a row that contradict the state."""
        self.text = ""
        """The result of the last probe, which took ``seconds``."""
        self.seconds = 0.0
        self._reset_agent()
        self.configure(config)

    def configure(self, config: HealthConfig) -> None:
        """Use other settings. Probes begin anew; the state stays until they contradict it."""
        self._config = config
        self._needed = {"first": 1, "rise": config.rise, "fall": config.fall}
        self._probes = 0
        if config.agent.port is None:
            self._reset_agent()

    def _reset_agent(self) -> None:
        self._agent_mode: Mode = "ready"
        self.percent = 100
        """Share of the configured weight that the agent asks for."""
        self.agent_down = False

    def observe(self, result: Result, now: float, seconds: float = 0.0) -> bool:
        """Take a probe that took ``seconds`` into account; return whether the state has changed."""
        self.text, self.seconds, self._passed = result.text, seconds, result.ok
        self._probes += 1
        if result.ok:
            self.checks.passed += 1
            self._requested_state, self._probe_percent = result.requested_state, result.percent
            self.hash = result.hash
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
        """Take the agent's report into account."""
        if report.percent is not None:
            self.percent = report.percent
        if report.mode is not None:
            self._agent_mode = report.mode
        if report.down is not None:
            self.agent_down = report.down

    def restore(self, state: Verdict, since: float, text: str) -> None:
        """Begin with the state from before a restart, until probes contradict it."""
        self.state, self.since, self.text = state, since, text

    def delay(self, random: Random) -> float:
        """Return the seconds from the beginning of the last probe to that of the next."""
        config = self._config
        if self.streak:
            interval = config.fast_interval or config.interval
        elif self.state is Verdict.DOWN:
            interval = config.down_interval or config.interval
        else:
            interval = config.interval
        return spread(interval, config.jitter, random, first=self._probes <= 1)

    def stand(self, now: float) -> Availability:
        """Return the availability from now on; to be called after every change, and when an ejection may have ended."""
        reason = ""
        if self.state is Verdict.DOWN:
            progress = f"{self.streak} of {self._config.rise} probes passed" if self._passed else self.text
            reason = f"unhealthy: {progress}"
        elif self.agent_down:
            reason = "unhealthy: its agent says down"
        ejected = self.ejection.why if self.ejection.out(now) else ""
        out = bool(reason or ejected)
        if self._out and not out:
            self.returned = None if self.checks.outage else now
            self.ejection.returned(now)
        if not out and (self._out or (self._passed and self.state is Verdict.UP)):
            self.checks.outage = False
        self._out = out
        unknown = UNKNOWN.reason if self.state is Verdict.UNKNOWN else ""
        return Availability(reason or unknown, down=bool(reason), ejected=ejected, requested_state=self.requested_state)

    def share_outage(self) -> None:
        """Note that no backend of the pool can be used: its users have no backend until one is back."""
        self.returned = None
        if self._out:
            self.checks.outage = True

    def warmth(self, now: float) -> float:
        """Return the share of its points that the backend has: at most 1, and less while it comes back slowly."""
        over = self._config.slow_start
        if over is None or self.checks.outage:
            return 1.0
        if self._out:
            return 1 / SLOW_STEPS
        if self.returned is None or now - self.returned >= over:
            return 1.0
        return (1 + int((now - self.returned) / over * SLOW_STEPS)) / SLOW_STEPS

    @property
    def weight_percent(self) -> int:
        """Share of the configured weight that its agent and its answers to probes ask for."""
        return self.percent * self._probe_percent // 100

    @property
    def out(self) -> bool:
        """Whether its probes, its agent or real traffic show that it cannot be used."""
        return self._out

    @property
    def down(self) -> bool:
        """Whether its probes or its agent show that it does not work."""
        return self.state is Verdict.DOWN or self.agent_down

    @property
    def requested_state(self) -> RequestedState:
        """What the host asks for, through its agent or in its answers to probes."""
        return self._requested_state if self._agent_mode == "ready" else self._agent_mode
