"""The overlay: whatever operators ask for, it stays usable, and its changes replayed give it again."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import TypeAdapter, ValidationError

from balancer.errors import Refused
from balancer.overlay.overlay import RAMP_STEPS, Add, Change, Overlay, Pin, Remove, SetState, SetWeight, Steer, Unpin

CONFIGURED = {"a": 1.0, "b": 2.0, "c": 0.0}
START = 1_700_000_000.0
LINE = TypeAdapter(Change)

names = st.sampled_from(["a", "b", "c", "d", "e", "nobody"])
digests = st.sampled_from(["0" * 16, "1" * 16, "f" * 16])
prefixes = st.sampled_from([None, 3, 8192])
weights = st.sampled_from([0.0, 0.5, 1.0, 256.0])
overs = st.sampled_from([0.0, 60.0, 3600.0])


class Services(RuleBasedStateMachine):
    """Everything that can be asked for, beside a plain account of pins, states and members."""

    def __init__(self):
        super().__init__()
        self.now = START
        self.overlay = Overlay()
        self.lines = []
        self.pins = {}
        self.states = {}
        self.members = set(CONFIGURED)

    def ask(self, change):
        """Apply a change as it would be read from a line; was it accepted?"""
        line = LINE.dump_json(change)
        before, described = self.overlay, repr(self.overlay)
        try:
            self.overlay = before.apply(LINE.validate_json(line), CONFIGURED, self.now)
        except Refused:
            assert repr(before) == described
            return False
        assert repr(before) == described
        assert self.overlay.version == before.version + 1
        self.lines.append((self.now, line))
        return True

    @rule(seconds=st.sampled_from([0.25, 7.0, 61.0, 1800.0, 7200.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(digest=digests, prefix=prefixes, backend=names, lasts=st.sampled_from([None, 0.0, 30.0]))
    def pin(self, digest, prefix, backend, lasts):
        until = None if lasts is None else self.now + lasts
        accepted = self.ask(Pin(digest=digest, prefix=prefix, backend=backend, until=until))
        assert accepted == (backend in self.members and self.states.get(backend) != "maint" and lasts != 0)
        if accepted:
            self.pins[digest, prefix] = (backend, until)

    @rule(digest=digests, prefix=prefixes)
    def unpin(self, digest, prefix):
        assert self.ask(Unpin(digest=digest, prefix=prefix)) == ((digest, prefix) in self.pins)
        self.pins.pop((digest, prefix), None)

    @rule(backend=names, state=st.sampled_from(["ready", "drain", "maint"]))
    def state(self, backend, state):
        if self.ask(SetState(backend=backend, state=state)):
            self.states.pop(backend, None)
            if state != "ready":
                self.states[backend] = state
        else:  # whoever is there may always be made ready
            assert backend not in self.members or state != "ready"

    @rule(backend=names, weight=weights, over=overs, since=st.sampled_from([0.0, 2 * START]))
    def weight(self, backend, weight, over, since):
        was = self.overlay.live_weights(CONFIGURED, self.now).get(backend)
        if self.ask(SetWeight(backend=backend, weight=weight, over=over, since=since)):
            ramp = self.overlay.weights[backend]
            assert ramp.weight(self.now) == (was if over else weight)
            assert ramp.weight(self.now + over) == weight
        else:
            assert backend not in self.members or weight == 0

    @rule(backend=names, action=st.sampled_from(["pause", "resume", "rollback"]))
    def steer(self, backend, action):
        ramp = self.overlay.weights.get(backend)
        was = ramp and ramp.weight(self.now)
        if self.ask(Steer(backend=backend, action=action)):
            assert self.overlay.weights[backend].weight(self.now) == (ramp.start if action == "rollback" else was)

    @rule(name=names, weight=weights)
    def add(self, name, weight):
        accepted = self.ask(Add(name=name, address="127.0.0.1:4000", weight=weight))
        assert accepted == (name not in self.members)
        self.members.add(name)

    @rule(name=names)
    def remove(self, name):
        if self.ask(Remove(name=name)):
            assert name in self.members
            assert name not in {backend for backend, _ in self.pins.values()}
            assert not self.overlay.live_weights(CONFIGURED, self.now).get(name)
            if name not in CONFIGURED:
                self.members.discard(name)
                self.states.pop(name, None)

    @precondition(lambda self: self.pins)
    @rule()
    def pins_end(self):
        over = self.overlay.expired(self.now)
        expected = {key for key, (_, until) in self.pins.items() if until is not None and until <= self.now}
        assert {(unpin.digest, unpin.prefix) for unpin in over} == expected
        for unpin in over:
            assert self.ask(unpin)
            del self.pins[unpin.digest, unpin.prefix]

    @invariant()
    def usable_for_ever(self):
        ends = [ramp.end for ramp in self.overlay.weights.values() if self.now < ramp.end < float("inf")]
        for at in [self.now, *ends, self.now + 1e6]:
            live = self.overlay.live_weights(CONFIGURED, at)
            assert any(weight > 0 and self.overlay.state(name) == "ready" for name, weight in live.items())

    @invariant()
    def as_accounted(self):
        assert {(pin.digest, pin.prefix): (pin.backend, pin.until) for pin in self.overlay.pins.values()} == self.pins
        assert {name: change.state for name, change in self.overlay.states.items()} == self.states
        assert self.overlay.live_weights(CONFIGURED, self.now).keys() == self.members

    def teardown(self):
        replayed = Overlay()
        for at, line in self.lines:
            replayed = replayed.apply(LINE.validate_json(line), CONFIGURED, at)
        assert replayed == self.overlay


Services.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestOperators = Services.TestCase


def after(*changes, at=START, configured=CONFIGURED):
    overlay = Overlay()
    for change in changes:
        overlay = overlay.apply(change, configured, at)
    return overlay


ends = st.floats(0, 256)


@given(start=ends, target=ends, over=st.floats(1, 86400 * 30), times=st.lists(st.floats(0, 86400 * 31), max_size=30))
def test_a_ramp_goes_one_way_in_few_steps_and_arrives(start, target, over, times):
    overlay = after(SetWeight(backend="a", weight=start), SetWeight(backend="a", weight=target, over=over))
    ramp = overlay.weights["a"]
    seen = [ramp.weight(START + passed) for passed in sorted(times)]
    assert all((late - early) * (target - start) >= 0 for early, late in pairwise(seen))
    every = {ramp.weight(START + over * step / 500) for step in range(501)}
    assert len(every) <= RAMP_STEPS + 1
    assert ramp.weight(START) == start
    assert ramp.weight(ramp.end) == target
    assert ramp.weight(START - 10) == start  # a clock that is set back does not undo more than the ramp


def test_a_paused_ramp_stands_still_and_goes_on_where_it_stood():
    overlay = after(SetWeight(backend="b", weight=32.0, over=600.0))
    middle = overlay.weights["b"].weight(START + 300)
    assert middle == 17.0
    paused = overlay.apply(Steer(backend="b", action="pause"), CONFIGURED, START + 300)
    assert paused.weights["b"].weight(START + 86400) == middle
    resumed = paused.apply(Steer(backend="b", action="resume"), CONFIGURED, START + 86400)
    assert resumed.weights["b"].weight(START + 86400) == middle
    assert resumed.weights["b"].weight(START + 86400 + 299) < 32.0
    assert resumed.weights["b"].weight(START + 86400 + 300) == 32.0
    back = resumed.apply(Steer(backend="b", action="rollback"), CONFIGURED, START + 86400 + 100)
    assert back.weights["b"].weight(START + 86400 + 100) == 2.0


def test_a_ramp_that_has_arrived_can_only_be_rolled_back():
    overlay = after(SetWeight(backend="b", weight=32.0, over=600.0))
    for action in ("pause", "resume"):
        with pytest.raises(Refused, match="is not changing"):
            overlay.apply(Steer(backend="b", action=action), CONFIGURED, START + 600)
    back = overlay.apply(Steer(backend="b", action="rollback"), CONFIGURED, START + 600)
    assert back.live_weights(CONFIGURED, START + 600)["b"] == 2.0
    with pytest.raises(Refused, match="is not changing"):
        overlay.apply(Steer(backend="a", action="rollback"), CONFIGURED, START)


def test_a_ramp_must_not_end_in_an_empty_ring():
    overlay = after(SetState(backend="a", state="drain"))
    with pytest.raises(Refused, match="no ready backend"):
        overlay.apply(SetWeight(backend="b", weight=0.0, over=3600.0), CONFIGURED, START)
    # c comes while b goes: somebody is there at every moment, unless c comes later than b has gone.
    coming = overlay.apply(SetWeight(backend="c", weight=1.0, over=60.0), CONFIGURED, START)
    with pytest.raises(Refused, match="no ready backend"):
        coming.apply(SetWeight(backend="b", weight=0.0), CONFIGURED, START)
    gone = coming.apply(SetWeight(backend="b", weight=0.0, over=60.0), CONFIGURED, START + 1)
    with pytest.raises(Refused, match="no ready backend"):
        gone.apply(Steer(backend="c", action="rollback"), CONFIGURED, START + 30)


def test_a_paused_ramp_to_zero_empties_no_ring():
    """It does not end by itself: at the moment its backend has a weight."""
    going = after(SetWeight(backend="b", weight=0.0, over=3600.0))
    paused = going.apply(Steer(backend="b", action="pause"), CONFIGURED, START + 60)
    alone = paused.apply(SetState(backend="a", state="drain"), CONFIGURED, START + 60)
    with pytest.raises(Refused, match="no ready backend"):
        alone.apply(Steer(backend="b", action="resume"), CONFIGURED, START + 120)


def test_since_is_when_it_was_applied():
    """Not what the sender wrote: an age of decades would end a drain, or a ramp, at once."""
    overlay = after(
        Pin(digest="0" * 16, backend="a", since=5.0),
        SetState(backend="a", state="drain", since=5.0),
        SetWeight(backend="b", weight=3.0, over=60.0, since=5.0),
    )
    assert overlay.pins["0" * 16].since == overlay.states["a"].since == overlay.weights["b"].since == START


def test_added_and_then_configured():
    """An operator adds a backend live and later writes it into the file: the file counts."""
    overlay = after(Add(name="d", address="127.0.0.1:4000", weight=7.0))
    assert overlay.live_weights(CONFIGURED, START)["d"] == 7.0
    configured = {**CONFIGURED, "d": 1.5}
    assert overlay.live_weights(configured, START)["d"] == 1.5
    removed = overlay.apply(Remove(name="d"), configured, START)
    assert removed.live_weights(configured, START)["d"] == 0.0
    assert removed.live_weights(CONFIGURED, START).keys() == {*CONFIGURED}


def test_a_name_added_again_is_a_new_backend():
    added = Add(name="d", address="127.0.0.1:4000")
    overlay = after(added, SetState(backend="d", state="maint"), SetWeight(backend="d", weight=9.0))
    gone = {name: weight for name, weight in CONFIGURED.items() if name != "d"}
    again = overlay.apply(Remove(name="d"), gone, START).apply(added, gone, START)
    assert again.state("d") == "ready"
    assert again.live_weights(gone, START)["d"] == 1.0


def test_what_was_decided_about_a_backend_lost_from_the_file_does_not_hold_for_an_added_one():
    overlay = after(SetState(backend="b", state="maint"), SetWeight(backend="b", weight=9.0))
    added = overlay.apply(Add(name="b", address="127.0.0.1:4000"), {"a": 1.0}, START)
    assert added.state("b") == "ready"
    assert added.live_weights({"a": 1.0}, START) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    "line",
    [
        '{"op":"pin","digest":"0000000000000000","backend":"a","until":NaN}',
        '{"op":"pin","digest":"0000000000000000","backend":"a","until":Infinity}',
        '{"op":"pin","digest":"token of a user","backend":"a"}',
        '{"op":"pin","digest":"0000000000000000","backend":"a","prefix":0}',
        '{"op":"pin","digest":"0000000000000000","backend":"a","reason":"two\\nlines"}',
        '{"op":"pin","digest":"0000000000000000","backend":"a","token":"x"}',
        '{"op":"weight","backend":"a","weight":-1}',
        '{"op":"weight","backend":"a","weight":257}',
        '{"op":"weight","backend":"a","weight":1,"over":-1}',
        '{"op":"state","backend":"a","state":"gone"}',
        '{"op":"add","name":"a b","address":"127.0.0.1:1"}',
        '{"op":"add","name":"a","address":"ide-1.example:1"}',
        '{"op":"explode"}',
        "{}",
    ],
)
def test_nonsense_is_no_change(line):
    with pytest.raises(ValidationError):
        LINE.validate_json(line)
