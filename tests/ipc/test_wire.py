"""The wire: everything that can be said arrives as it was said, and nothing that arrives can do harm."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import SAMPLES

from balancer.ipc import messages, supervision
from balancer.ipc.wire import HEADER_BYTES, MAX_FRAME, BrokenFrame, Message, Unreadable, encode, frame_length

GOLDEN = Path(__file__).parent / "golden"
RELEASES = sorted(path.name for path in GOLDEN.iterdir())
VOCABULARIES = (
    messages.TO_WORKER,
    messages.TO_CONTROL,
    supervision.TO_CHILD,
    supervision.TO_SUPERVISOR,
)
FROZEN = messages.FROZEN + supervision.FROZEN
each_message = pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)


def decode(frame):
    """Decode as the side that understands this type."""
    found = [each.decode(frame) for each in VOCABULARIES]
    return next((each for each in found if not isinstance(each, Unreadable)), found[0])


def kinds():
    below = [*Message.__subclasses__(), *supervision.FdMessage.__subclasses__()]
    modules = (messages.__name__, supervision.__name__)
    return {kind for kind in below if kind.__module__ in modules and kind is not supervision.FdMessage}


def test_there_is_a_sample_of_every_message():
    assert {type(message) for message in SAMPLES} == kinds()


def test_type_numbers_are_unique():
    assert len({kind.TYPE for kind in kinds()}) == len(kinds())


@each_message
def test_a_message_arrives_as_it_was_sent(message):
    assert decode(encode(message)) == message


@each_message
def test_a_field_that_is_unknown_here_is_ignored(message):
    frame = encode(message)
    fields = msgspec.msgpack.decode(frame[HEADER_BYTES:], strict=False)
    body = msgspec.msgpack.encode({**fields, "of a later release": [1, {"x": None}]})
    assert decode(frame[:HEADER_BYTES] + body) == message


@each_message
def test_another_version_is_said_to_be_unreadable(message):
    frame = bytearray(encode(message))
    frame[6] += 1
    found = decode(bytes(frame))
    assert isinstance(found, Unreadable)
    assert (found.type, found.version) == (message.TYPE, message.VERSION + 1)


def test_an_unknown_type_is_said_to_be_unreadable():
    frame = bytearray(encode(SAMPLES[-1]))
    frame[4:6] = b"\xff\xff"
    assert messages.TO_WORKER.decode(frame) == Unreadable(0xFFFF, 1, "type 65535 is unknown here")


@given(st.sampled_from(SAMPLES), st.data())
def test_no_damage_raises(message, data):
    frame = bytearray(encode(message))
    for at in data.draw(st.lists(st.integers(HEADER_BYTES, len(frame) - 1), max_size=8)):
        frame[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(HEADER_BYTES, len(frame)))
    for vocabulary in VOCABULARIES:
        assert isinstance(vocabulary.decode(frame[:end]), Message | Unreadable)


@given(st.binary(max_size=300), st.integers(0, 80), st.integers(0, 3))
def test_no_body_raises(body, number, version):
    frame = bytes(4) + number.to_bytes(2) + bytes((version,)) + body
    for vocabulary in VOCABULARIES:
        assert isinstance(vocabulary.decode(frame), Message | Unreadable)


def test_lengths_of_frames():
    frame = encode(SAMPLES[3])
    assert [frame_length(frame[:size]) for size in (0, 6, 7)] == [0, 0, len(frame)]
    for length in (0, 2, MAX_FRAME + 1):
        with pytest.raises(BrokenFrame):
            frame_length(length.to_bytes(4) + bytes(3))


def test_a_token_is_never_shown():
    for message in SAMPLES:
        assert r"\xfftoken" not in repr(message)


@pytest.mark.parametrize("release", RELEASES)
@each_message
def test_what_earlier_releases_said_is_understood(release, message):
    """Frames as the release wrote them, with the values they had. Never edit a file of a release that is out."""
    golden = GOLDEN / release / f"{type(message).__name__}.json"
    if not golden.exists():
        assert type(message) not in FROZEN or release != RELEASES[-1], "a release has to have them all"
        pytest.skip("younger than this release")
    said = json.loads(golden.read_text())
    found = decode(bytes.fromhex(said["frame"]))
    if type(message) in FROZEN or release == RELEASES[-1]:
        fields = json.loads(json.dumps(msgspec.to_builtins(found, str_keys=True)))
        assert fields | said["fields"] == fields
    else:
        assert isinstance(found, Message | Unreadable)


@each_message
def test_the_present_release_says_what_its_golden_files_hold(message):
    """Whoever changes a message on purpose writes its file anew: ``python tests/ipc/write_golden.py``."""
    golden = GOLDEN / RELEASES[-1] / f"{type(message).__name__}.json"
    assert json.loads(golden.read_text())["frame"] == encode(message).hex()
