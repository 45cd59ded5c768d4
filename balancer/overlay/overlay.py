"""The overlay: what operators have decided on top of one pool's ring. An immutable value; a change makes a new one.

Pins bind a token, or all tokens with a prefix, to a backend. Admin states take a backend out of placement without
touching the ring. Weights override the configuration, at once or along a ramp, and backends may be added or removed
live. Tokens appear here only as keyed digests.

Every change is a pydantic model with an ``op``: the same text is the body of an admin request and a line of the
journal, and replaying the lines gives the overlay again. ``now`` is Unix time in seconds; ``since`` becomes ``now``
when a change is applied, whatever the sender wrote there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints

from balancer.config.fields import BackendAddress
from balancer.config.scalars import no_such
from balancer.config.section import Name, Section
from balancer.errors import Refused
from balancer.overlay.states import State

MAX_WEIGHT = 256.0
RAMP_STEPS = 60
"""Steps of a ramp at most: each is a new ring."""

K = TypeVar("K")
V = TypeVar("V")

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Weight = Annotated[float, Field(ge=0.0, le=MAX_WEIGHT, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Pin(Section):
    """Bind a token (or, with ``prefix``, every token that begins with the ``prefix`` bytes digested) to a backend."""

    op: Literal["pin"] = "pin"
    digest: Digest
    prefix: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Length in bytes of the prefix that was digested; absent for a whole token."""
    backend: Name
    until: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Unix time at which the pin ends by itself."""
    reason: Text = ""
    author: Text = ""
    since: float = 0.0

    @property
    def key(self) -> str:
        """What is unique about a pin."""
        return pin_key(self.digest, self.prefix)


class Unpin(Section):
    """Take a pin away."""

    op: Literal["unpin"] = "unpin"
    digest: Digest
    prefix: int | None = None


class SetState(Section):
    """``ready``, ``drain`` (nobody new; users with live tunnels stay) or ``maint`` (nobody at all)."""

    op: Literal["state"] = "state"
    backend: Name
    state: State
    cut_after: Annotated[float, Field(gt=0.0, le=366 * 86400.0, allow_inf_nan=False)] | Literal["never"] | None = None
    """Seconds after which the tunnels that are left are closed; absent for the pool's default."""
    since: float = 0.0


class SetWeight(Section):
    """Change a weight, at once or, with ``over`` seconds, in steps."""

    op: Literal["weight"] = "weight"
    backend: Name
    weight: Weight
    over: Annotated[float, Field(ge=0.0, le=30 * 86400.0, allow_inf_nan=False)] = 0.0
    since: float = 0.0


class Steer(Section):
    """``pause``, ``resume`` or ``rollback`` (back to the weight before it) a ramp."""

    op: Literal["ramp"] = "ramp"
    backend: Name
    action: Literal["pause", "resume", "rollback"]
    since: float = 0.0


class Add(Section):
    """A backend that is not in the configuration."""

    op: Literal["add"] = "add"
    name: Name
    address: BackendAddress
    weight: Weight = 1.0


class Remove(Section):
    """Take a backend off the ring: one added live is forgotten, a configured one gets weight 0."""

    op: Literal["remove"] = "remove"
    name: Name


Timed = TypeVar("Timed", Pin, SetState)
Change = Annotated[Pin | Unpin | SetState | SetWeight | Steer | Add | Remove, Field(discriminator="op")]


@dataclass(frozen=True)
class Ramp:
    """A weight on its way from ``start`` to ``target``: ``done`` seconds of ``over`` have passed at ``since``."""

    start: Weight
    target: Weight
    over: Finite
    done: Finite
    since: Finite
    paused: bool = False

    @property
    def end(self) -> float:
        """Unix time at which the target is reached; infinity while paused."""
        return math.inf if self.paused else self.since + self.over - self.done

    def weight(self, now: float) -> float:
        """The weight at ``now``, in ``RAMP_STEPS`` equal steps."""
        passed = self.passed(now)
        if passed >= self.over:
            return self.target
        step = int(passed / self.over * RAMP_STEPS) / RAMP_STEPS
        return self.start + (self.target - self.start) * step

    def shifted(self, seconds: float) -> "Ramp":
        """The ramp by a clock that is so much later."""
        return replace(self, since=self.since + seconds)

    def settled(self, now: float) -> "Ramp":
        """The ramp, without a duration once it has ended: what has ended does not begin again."""
        return replace(self, over=0.0, done=0.0, since=now) if self.over and now >= self.end else self

    def passed(self, now: float) -> float:
        """Seconds of the ramp that have passed."""
        if now >= self.end:
            return self.over
        return self.done if self.paused else min(self.over, self.done + max(0.0, now - self.since))


@dataclass(frozen=True)
class Origin:
    """Who made a decision, and when, in Unix time."""

    who: str
    at: Finite

    def shifted(self, seconds: float) -> "Origin":
        """The origin by a clock that is so much later."""
        return replace(self, at=self.at + seconds)


@dataclass(frozen=True)
class Overlay:
    """Everything decided for one pool; ``version`` counts the changes."""

    pins: Mapping[str, Pin] = field(default_factory=dict)
    """By ``Pin.key``."""
    states: Mapping[str, SetState] = field(default_factory=dict)
    """Backends that are not ``ready``."""
    weights: Mapping[str, Ramp] = field(default_factory=dict)
    """Weights that differ from the configuration; one changed at once is a ramp of no duration."""
    added: Mapping[str, Add] = field(default_factory=dict)
    version: int = 0
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Of the states, weights and added backends, by ``origin_key``."""

    def state(self, backend: str) -> State:
        """The backend's admin state."""
        change = self.states.get(backend)
        return change.state if change else "ready"

    def live_weights(self, configured: Mapping[str, float], now: float) -> dict[str, float]:
        """Return the weights at ``now``, of the configured and of the added backends.

        One that was added and has since been written into the configuration is the configuration's.
        """
        weights = {**configured, **{n: change.weight for n, change in self.added.items() if n not in configured}}
        weights.update({name: ramp.weight(now) for name, ramp in self.weights.items() if name in weights})
        return weights

    def settled(self, now: float) -> "Overlay":
        """The overlay with the ramps that have ended kept as such; itself, if there are none."""
        weights = {name: ramp.settled(now) for name, ramp in self.weights.items()}
        return self if weights == self.weights else replace(self, weights=weights)

    def shifted(self, seconds: float) -> "Overlay":
        """The overlay by a clock that is so much later: everything begins and ends when it would have."""
        return replace(
            self,
            pins={key: _shifted(pin, seconds) for key, pin in self.pins.items()},
            states={name: _shifted(state, seconds) for name, state in self.states.items()},
            weights={name: ramp.shifted(seconds) for name, ramp in self.weights.items()},
            origins={key: origin.shifted(seconds) for key, origin in self.origins.items()},
        )

    def expired(self, now: float) -> list[Unpin]:
        """The changes that time itself asks for."""
        over = [pin for pin in self.pins.values() if pin.until is not None and pin.until <= now]
        return [Unpin(digest=pin.digest, prefix=pin.prefix) for pin in over]

    def apply(self, change: Change, configured: Mapping[str, float], now: float, who: str = "") -> "Overlay":
        """The overlay after ``change`` by ``who``. ``configured`` are the weights of the configuration.

        Raises ``Refused``, with what to do instead, for a change that makes no sense on this pool.
        """
        name = getattr(change, "backend", None)
        weights = self.live_weights(configured, now)
        if name is not None and name not in weights:
            raise _unknown(name, weights)
        if "since" in type(change).model_fields:
            change = change.model_copy(update={"since": now})
        changed = self._apply(change, configured, now)
        if not changed.usable(configured, now):
            raise Refused("this would leave no ready backend with a weight above 0; make another one ready first")
        return replace(changed, version=self.version + 1, origins=changed._origins(self, Origin(who, now)))

    def usable(self, configured: Mapping[str, float], now: float) -> bool:
        """Is there a ready backend with a weight above 0, now and when the ramps that lead to 0 have ended?"""
        ends = [ramp.end for ramp in self.weights.values() if ramp.target == 0 and now < ramp.end < math.inf]
        return all(
            any(
                weight > 0 and self.state(name) == "ready" for name, weight in self.live_weights(configured, at).items()
            )
            for at in (now, *ends)
        )

    def decisions(self) -> dict[str, object]:
        """Return what is decided about backends, by ``origin_key``."""
        return {
            **{origin_key("state", name): state for name, state in self.states.items()},
            **{origin_key("weight", name): ramp for name, ramp in self.weights.items()},
            **{origin_key("added", name): add for name, add in self.added.items()},
        }

    def _origins(self, before: "Overlay", origin: Origin) -> dict[str, Origin]:
        """Return the origins of what is decided now: ``origin``, unless it was decided like this before."""
        earlier, now = before.decisions(), self.decisions()
        kept = {key: old for key, old in before.origins.items() if key in now and now[key] == earlier.get(key)}
        return {**kept, **{key: origin for key in now if now[key] != earlier.get(key)}}

    def _apply(self, change: Change, configured: Mapping[str, float], now: float) -> "Overlay":
        weights = self.live_weights(configured, now)
        match change:
            case Pin():
                if self.state(change.backend) == "maint":
                    raise Refused(f'"{change.backend}" is in maint; pin to another backend or make it ready first')
                if change.until is not None and change.until <= now:
                    raise Refused("the pin would end before it begins; give a time in the future")
                return replace(self, pins={**self.pins, change.key: change})
            case Unpin():
                key = pin_key(change.digest, change.prefix)
                if key not in self.pins:
                    raise Refused("there is no such pin; `balancer pins` lists them")
                return replace(self, pins=_without(self.pins, key))
            case SetState():
                states = _without(self.states, change.backend)
                return replace(self, states=states if change.state == "ready" else {**states, change.backend: change})
            case SetWeight():
                ramp = Ramp(weights[change.backend], change.weight, change.over, 0.0, change.since)
                return replace(self, weights={**self.weights, change.backend: ramp})
            case Steer():
                return replace(self, weights={**self.weights, change.backend: self._steered(change)})
            case Add():
                if change.name in weights:
                    raise Refused(f'there is a backend "{change.name}" already; change its weight instead')
                # What was decided about an earlier backend of that name does not hold for this one.
                forgotten = self._forget(change.name)
                return replace(forgotten, added={**forgotten.added, change.name: change})
            case Remove():
                return self._removed(change.name, configured, now)

    def _steered(self, change: Steer) -> Ramp:
        ramp = self.weights.get(change.backend)
        passed = ramp.passed(change.since) if ramp else 0.0
        if ramp is None or (passed >= ramp.over and change.action != "rollback"):
            raise Refused(f'the weight of "{change.backend}" is not changing; start with `backend weight … --over`')
        match change.action:
            case "pause":
                return replace(ramp, done=passed, since=change.since, paused=True)
            case "resume":
                return replace(ramp, done=passed, since=change.since, paused=False)
            case "rollback":
                return Ramp(ramp.weight(change.since), ramp.start, 0.0, 0.0, change.since)

    def _removed(self, name: str, configured: Mapping[str, float], now: float) -> "Overlay":
        weights = self.live_weights(configured, now)
        if name not in weights:
            raise _unknown(name, weights)
        if pinned := sum(pin.backend == name for pin in self.pins.values()):
            raise Refused(f'{pinned} pin(s) bind users to "{name}"; `balancer unpin` them first')
        if name not in configured:
            return self._forget(name)
        off = Ramp(weights[name], 0.0, 0.0, 0.0, now)
        return replace(self, added=_without(self.added, name), weights={**self.weights, name: off})

    def _forget(self, name: str) -> "Overlay":
        return replace(
            self,
            added=_without(self.added, name),
            weights=_without(self.weights, name),
            states=_without(self.states, name),
        )


def _shifted(change: Timed, seconds: float) -> Timed:
    """A pin or a state by a clock that is so much later."""
    times = {name: getattr(change, name, None) for name in ("since", "until")}
    return change.model_copy(update={name: at + seconds for name, at in times.items() if at is not None})


def _unknown(name: str, weights: Mapping[str, float]) -> Refused:
    return Refused(no_such("backend", name, sorted(weights)))


def origin_key(kind: Literal["state", "weight", "added"], backend: str) -> str:
    """The key of a decision about a backend among the origins."""
    return f"{kind} {backend}"


def pin_key(digest: str, prefix: int | None) -> str:
    """``digest`` for a whole token, ``digest/length`` for a prefix."""
    return digest if prefix is None else f"{digest}/{prefix}"


def _without(mapping: Mapping[K, V], key: K) -> dict[K, V]:
    return {other: value for other, value in mapping.items() if other != key}
