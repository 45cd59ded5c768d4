"""Where tokens belong: pins and states on a ring, without anyone's health or tunnels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import DIGEST, NOW, config, steered

from balancer.control.placement import make_placement
from balancer.overlay.overlay import Overlay, Pin, SetState
from balancer.ring.build import build

SETTINGS = config(["a", "b", "c"])
RING = build(SETTINGS)
ADDRESSES = {backend.name: backend.address for backend in SETTINGS.backend}
names = st.sampled_from(["a", "b", "c"])


@given(
    pins=st.dictionaries(st.sampled_from([1, 2, 3, None]), st.sampled_from(["a", "b", "c", "gone"])),
    states=st.dictionaries(st.sampled_from(["b", "c"]), st.sampled_from(["drain", "maint"])),
    token=st.text("xyz", min_size=1, max_size=5).map(str.encode),
)
def test_home_is_the_longest_pin_that_can_be_used_or_the_first_ready_one(pins, states, token):
    made = {}
    for length, backend in pins.items():
        pin = Pin(digest=DIGEST(token if length is None else token[:length]), prefix=length, backend=backend)
        made[pin.key] = pin
    overlay = Overlay(pins=made, states={n: SetState(backend=n, state=state) for n, state in states.items()})
    placement = make_placement(RING, ADDRESSES, overlay, DIGEST, NOW)
    lengths = [None, *sorted((n for n in pins if n is not None and n <= len(token)), reverse=True)]
    usable = [pins[n] for n in lengths if pins.get(n, "gone") != "gone"]
    ready = next(name for name in RING.order(token) if name not in states)
    assert placement.pinned(token) == (usable[0] if usable else None)
    assert placement.home(token) == (usable[0] if usable and usable[0] not in states else ready)
    assert placement.steered == bool(usable or states or set(pins.values()) - {"gone"})


@pytest.mark.parametrize(("until", "pinned"), [(None, "c"), (NOW + 1, "c"), (NOW, None), (NOW - 1, None)])
def test_an_ended_pin_does_not_count(until, pinned):
    pin = Pin(digest=DIGEST(b"ann"), backend="c", until=until)
    placement = make_placement(RING, ADDRESSES, Overlay(pins={pin.key: pin}), DIGEST, NOW)
    assert placement.pinned(b"ann") == pinned


def test_nobody_ready_is_the_owner_after_all():
    """A new configuration can leave only backends that drain: the home of a user is where the ring says."""
    states = {name: SetState(backend=name, state="drain") for name in ADDRESSES}
    placement = make_placement(RING, ADDRESSES, Overlay(states=states), DIGEST, NOW)
    assert placement.home(b"ann") == RING.owner(b"ann")


def test_no_token_in_a_repr():
    placement = steered(SETTINGS, [Pin(digest=DIGEST(b"secret-token"), backend="a")])
    assert "secret-token" not in repr(placement)
