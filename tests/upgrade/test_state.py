"""What one version hands on to the next: every later one reads it and keeps unknown fields, or says why it cannot."""

import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from handed import counters, handover, remembered, small
from hypothesis import given
from hypothesis import strategies as st

from balancer.control import active_config, saved_counters
from balancer.errors import Refused
from balancer.upgrade import state

GOLDEN = Path(__file__).parent / "golden"
RELEASES = sorted(path.name for path in GOLDEN.iterdir())


def test_arrives_as_it_was_handed_over():
    assert state.load(state.dump(handover())) == handover()


def test_fields_that_are_unknown_here_are_handed_on():
    raw = json.loads(state.dump(handover())) | {"format": 7, "min": 1, "moons": [{"name": "Io"}]}
    read = state.load(json.dumps(raw).encode())
    assert read.unknown == {"moons": [{"name": "Io"}]}
    again = json.loads(state.dump(read))
    assert again["moons"] == [{"name": "Io"}]
    assert again["format"] == state.FORMAT


def test_a_newer_form_is_refused_with_the_reason():
    raw = json.loads(state.dump(handover())) | {"min": state.FORMAT + 1}
    with pytest.raises(Refused, match=rf"in format {state.FORMAT + 1}; this one reads up to {state.FORMAT}"):
        state.load(json.dumps(raw).encode())


@given(st.data())
def test_no_damage_raises_anything_else(data):
    whole = bytearray(state.dump(handover()))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=5)):
        whole[at] = data.draw(st.integers(0, 255))
    with suppress(Refused):
        state.load(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def test_it_holds_no_token():
    fields = {field.name for kind in (state.Handover, state.WorkerEntry) for field in msgspec.structs.fields(kind)}
    assert not {name for name in fields if "token" in name or "secret" in name}


def test_sealed_memory_cannot_be_changed():
    fd = state.seal(b"as it is")
    with open(fd, "r+b", buffering=0) as file:
        assert state.read(fd) == b"as it is"
        with pytest.raises(PermissionError):
            file.write(b"x")
        with pytest.raises(PermissionError):
            file.truncate(3)


def test_the_active_configuration_is_kept_as_it_was_written():
    """With the manual's: a table for everything, rules with ``not`` among them."""
    kept = active_config.dump(remembered())
    assert active_config.load(kept) == remembered()
    written = json.loads(msgspec.msgpack.decode(kept)["config"])
    assert "max_head_bytes" in written["limits"]
    assert active_config.read_filled(kept) == remembered().active.config


def test_a_default_that_nobody_has_set_is_filled_in_by_the_reader():
    raw = msgspec.msgpack.decode(active_config.dump(remembered()))
    written, filled = json.loads(raw["config"]), json.loads(raw["filled"])
    del written["limits"]["max_head_bytes"]
    filled["limits"] |= {"max_head_bytes": 4096, "of another version": 1}
    raw |= {"config": json.dumps(written), "filled": json.dumps(filled)}
    kept = msgspec.msgpack.encode(raw)
    assert active_config.read(kept).active.config.limits.max_head_bytes == 32768
    assert active_config.read_filled(kept).limits.max_head_bytes == 4096


def test_a_key_that_is_set_and_unknown_here_is_refused():
    raw = msgspec.msgpack.decode(active_config.dump(remembered()))
    raw["config"] = json.dumps({**json.loads(raw["config"]), "moons": 2})
    with pytest.raises(Refused, match="does not take the active configuration: moons"):
        active_config.read(msgspec.msgpack.encode(raw))


def test_a_newer_configuration_is_refused_with_the_reason():
    raw = msgspec.msgpack.decode(active_config.dump(remembered())) | {"min": active_config.FORMAT + 1}
    with pytest.raises(Refused, match=f"in format {active_config.FORMAT + 1}"):
        active_config.read(msgspec.msgpack.encode(raw))


def test_counters_of_another_version():
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(counters()))
    assert saved_counters.read(msgspec.msgpack.encode(raw | {"moons": 2})) == counters()
    with pytest.raises(Refused, match="have format 9"):
        saved_counters.read(msgspec.msgpack.encode(raw | {"format": 9}))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("form", ["handover", "counters", "config"])
def test_what_earlier_releases_kept_is_understood(release, form):
    """As the release wrote it. Never edit a file of a release that is out: ``tests/upgrade/write_golden.py``."""
    data = (GOLDEN / release / f"{form}.json").read_bytes()
    match form:
        case "handover":
            found, wanted = state.load(data), handover()
        case "counters":
            found, wanted = saved_counters.read(msgspec.msgpack.encode(json.loads(data))), counters()
        case _:
            found, wanted = active_config.read(bytes.fromhex(json.loads(data)["msgpack"])), small()
    if release == RELEASES[-1]:
        assert found == wanted
