"""Ends of WebSocket frames, found in bytes cut anywhere."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode

from balancer.http.frames import CLOSE, PING, PONG, SERVICE_RESTART, Frames, client_frame, close_frame, next_frame

MASK = b"\x01\x80\x7e\x7f"


@st.composite
def frames(draw):
    """A whole frame, its length in any of the three encodings, longer than need be included."""
    first = draw(st.sampled_from([0x01, 0x81, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC2]))  # 0xC2: compressed
    size = draw(st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65535, 65536, 70000]))
    width = draw(st.sampled_from([w for w, most in ((0, 125), (2, 65535), (8, 1 << 63)) if size <= most]))
    masked = draw(st.booleans())
    code = {0: size, 2: 126, 8: 127}[width] | (0x80 if masked else 0)
    header = bytes([first, code]) + (size.to_bytes(width) if width else b"") + (MASK if masked else b"")
    filling = draw(st.sampled_from([b"\x00", b"\x81\x05", b"\xff\xff\xff", b"x"]))
    return header + (filling * size)[:size]


def ends_of(whole):
    ends, position = {0}, 0
    for frame in whole:
        position += len(frame)
        ends.add(position)
    return ends


@given(whole=st.lists(frames(), max_size=5), data=st.data())
def test_between_is_true_at_the_ends_and_nowhere_else(whole, data):
    raw, ends = b"".join(whole), ends_of(whole)
    near = sorted({min(len(raw), max(0, end + offset)) for end in ends for offset in range(-3, 16)})
    cuts = sorted(data.draw(st.lists(st.sampled_from(near) | st.integers(0, len(raw)), max_size=40)))
    follower, position = Frames(), 0
    assert follower.at_boundary
    for cut in [*cuts, len(raw)]:
        follower.feed(raw[position:cut])
        position = cut
        assert follower.at_boundary == (cut in ends)


@given(whole=st.lists(frames().filter(lambda frame: len(frame) < 400), max_size=4))
def test_byte_by_byte(whole):
    raw, ends, follower = b"".join(whole), ends_of(whole), Frames()
    for position in range(len(raw)):
        follower.feed(raw[position : position + 1])
        assert follower.at_boundary == (position + 1 in ends)


@pytest.mark.parametrize("frame", [b"\x81\x01x", b"\x81\x81" + MASK + b"x", b"\x89\x00", b"\x81\x7d" + b"x" * 125])
@pytest.mark.parametrize("more", [1, 2, 3, 4])
def test_a_short_frame_and_the_beginning_of_the_next(frame, more):
    follower, following = Frames(), b"\x81\x03\x00\x00\x00"
    follower.feed(frame + following[:more])
    assert not follower.at_boundary
    follower.feed(following[more:])
    assert follower.at_boundary


@settings(max_examples=30)
@given(payloads=st.lists(st.binary(max_size=200), min_size=1, max_size=6), client=st.booleans())
def test_frames_of_a_real_sender(payloads, client):
    """A fragmented message with a ping in its middle, as wsproto sends it."""
    sender = FrameProtocol(client=client, extensions=[])
    follower = Frames()
    for index, payload in enumerate(payloads):
        frame = bytes(sender.send_data(payload, fin=index == len(payloads) - 1) + sender.ping(b"still there?"))
        follower.feed(frame[:-1])
        assert not follower.at_boundary
        follower.feed(frame[-1:])
        assert follower.at_boundary


def test_a_frame_of_no_end_is_no_reason_to_remember_it():
    follower = Frames()
    follower.feed(b"\x82\x7f" + b"\xff" * 8)
    for _ in range(100):
        follower.feed(bytes(1 << 16))
    assert not follower.at_boundary


def test_close_frames_are_what_each_side_expects():
    for side, mask in ((ConnectionType.CLIENT, b""), (ConnectionType.SERVER, os.urandom(4))):
        peer = Connection(side)
        frame = close_frame(SERVICE_RESTART, mask)
        peer.receive_data(frame)
        (event,) = peer.events()
        assert isinstance(event, CloseConnection)
        assert event.code == SERVICE_RESTART == CloseReason.SERVICE_RESTART
        follower = Frames()
        follower.feed(frame)
        assert follower.at_boundary
        assert frame[0] & 0x0F == Opcode.CLOSE


@given(st.sampled_from([CLOSE, PING, PONG]), st.binary(max_size=125), st.binary(min_size=4, max_size=4))
def test_a_server_understands_our_frames(opcode, payload, mask):
    if opcode == CLOSE:
        payload = (1000).to_bytes(2)
    server = Connection(ConnectionType.SERVER)
    server.receive_data(client_frame(opcode, payload, mask))
    (event,) = server.events()
    assert (event.code if opcode == CLOSE else event.payload) == (1000 if opcode == CLOSE else payload)


@given(st.lists(st.tuples(st.sampled_from([1, 2, PING]), st.binary(max_size=300)), max_size=4), st.data())
def test_frames_of_a_server_are_read_one_by_one(frames, data):
    """However they are cut; payloads of all three kinds of length."""
    sent = b"".join(bytes((0x80 | kind,)) + length_of(content) + content for kind, content in frames)
    cut = data.draw(st.integers(0, len(sent)))
    rest, found = sent[:cut], []
    while (frame := next_frame(rest)) is not None:
        kind, content, rest = frame
        found.append((kind, content))
    rest += sent[cut:]
    while (frame := next_frame(rest)) is not None:
        kind, content, rest = frame
        found.append((kind, content))
    assert (found, rest) == (frames, b"")


def length_of(content):
    size = len(content)
    return bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 200 else b"\x7f" + size.to_bytes(8)
