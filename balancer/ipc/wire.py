"""The encoding of messages between the processes of a daemon: frames of a type, a version and a MessagePack map.

Facts, and what follows from them:

- Control and workers may be of different releases: a hot upgrade starts new workers beside old ones. Pickles of our
  own classes broke exactly there (a class that moved, a path type of a newer Python), and an exception while unpickling
  ended the worker with all its tunnels. So the wire holds plain values only, and whatever cannot be read is a value as
  well (``Unreadable``), never an exception.
- A field the reader does not know is ignored, a field that is missing takes its default: fields may be added to a
  message at any time, with a default. A change that an older reader would misunderstand gets a new version; a reader
  that does not know a type or a version answers so, and stays with what it has.
- msgspec checks types while it decodes. ``python -m bench.wire`` compares it with pickle, and MessagePack with JSON,
  which needs base64 for tokens and rings.

A frame is 4 bytes of length of what follows, 2 bytes of type, 1 byte of version, all big-endian, then the map.
"""

import struct
from typing import ClassVar

import msgspec

_HEADER = struct.Struct(">IHB")
HEADER_BYTES = _HEADER.size
MAX_FRAME = 1 << 28
"""Bytes of the longest frame: rings of a hundred large pools."""
_OVERHEAD = HEADER_BYTES - 4
_encoder = msgspec.msgpack.Encoder()


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all messages. ``TYPE`` is never reused for another message, ``VERSION`` counts incompatible changes."""

    TYPE: ClassVar[int]
    VERSION: ClassVar[int] = 1


class Unreadable(msgspec.Struct, frozen=True):
    """A frame that could not be read, and why; what it held is lost."""

    type: int
    version: int
    reason: str


class BrokenFrame(Exception):
    """The stream is not made of frames any more: nothing that follows can be trusted."""


class Vocabulary:
    """The messages that one side understands."""

    def __init__(self, *kinds: type[Message]) -> None:
        self._decoders = {kind.TYPE: (kind, msgspec.msgpack.Decoder(kind)) for kind in kinds}
        assert len(self._decoders) == len(kinds), "two messages have the same type number"

    def decode(self, frame: bytes | bytearray | memoryview) -> Message | Unreadable:
        """Return the message of a whole frame, or why it cannot be read. Never raises."""
        _, number, version = _HEADER.unpack_from(frame)
        kind, decoder = self._decoders.get(number, (None, None))
        if kind is None or decoder is None:
            return Unreadable(number, version, f"type {number} is unknown here")
        if version != kind.VERSION:
            return Unreadable(number, version, f"{kind.__name__} has version {version}, known is {kind.VERSION}")
        try:
            return decoder.decode(memoryview(frame)[HEADER_BYTES:])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return Unreadable(number, version, f"{kind.__name__}: {error}")


def encode(message: Message) -> bytes:
    """Return the frame of a message."""
    body = _encoder.encode(message)
    return _HEADER.pack(len(body) + _OVERHEAD, message.TYPE, message.VERSION) + body


def frame_length(data: bytes | bytearray) -> int:
    """Return the length of the frame that ``data`` begins with, 0 if that cannot be told yet. Raise ``BrokenFrame``."""
    if len(data) < HEADER_BYTES:
        return 0
    length = int.from_bytes(data[:4])
    if not _OVERHEAD <= length <= MAX_FRAME:
        raise BrokenFrame(f"a frame of {length} bytes")
    return 4 + length
