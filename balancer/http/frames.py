"""Follow the boundaries of WebSocket frames without reading their content (RFC 6455, 5.2).

A relay that has to end a tunnel may insert a close frame only between two frames. Control frames may also come between
the frames of a fragmented message (5.4), so the end of any frame will do.
"""

from typing import Final

CLOSE, PING, PONG = 8, 9, 10
"""Opcodes of control frames."""
LONGEST_CONTROL: Final = 125
"""Maximal payload of a control frame in bytes (5.5)."""
NORMAL: Final = (1000).to_bytes(2)
"""Payload of a close frame with the code for a normal closure (7.4.1)."""
SERVICE_RESTART: Final = 1012
"""Close code that asks the client to reconnect (IANA WebSocket Close Code Number Registry)."""


class Frames:
    """Follows one direction of a WebSocket. Extensions such as permessage-deflate do not change frame boundaries."""

    __slots__ = ("_begun", "_left")

    def __init__(self) -> None:
        self._left = 0
        """Remaining bytes of the current frame."""
        self._begun = b""
        """First bytes of a frame whose length is not known yet."""

    @property
    def at_boundary(self) -> bool:
        """Whether everything fed so far is whole frames."""
        return not self._left and not self._begun

    def feed(self, data: bytes) -> None:
        """Follow the next bytes sent in this direction."""
        left, end = self._left, len(data)
        if left > end:
            self._left = left - end
            return
        if self._begun:
            data = self._begun + data
            self._begun = b""
            end = len(data)
        elif not left and end > 1 and (short := data[1] & 0x7F) < 126 and end == short + (6 if data[1] & 0x80 else 2):
            return  # fast path: terminals mostly send single short frames; saves 6 % of an echo
        position = left
        while position < end:
            header = data[position : position + 10]
            length = _frame_length(header)
            if length is None:
                self._begun = header
                break
            position += length
        self._left = max(0, position - end)


def _frame_length(header: bytes) -> int | None:
    """Length of the whole frame that begins with ``header``; None if more bytes are needed."""
    if len(header) < 2:
        return None
    mask = 4 if header[1] & 0x80 else 0
    length = header[1] & 0x7F
    if length < 126:
        return 2 + mask + length
    extended = 2 if length == 126 else 8
    if len(header) < 2 + extended:
        return None
    return 2 + extended + mask + int.from_bytes(header[2 : 2 + extended])


def next_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return opcode and payload of the first frame (unmasked, of a server), and the rest; None if it is incomplete."""
    length = _frame_length(data[:10])
    if length is None or len(data) < length:
        return None
    head = {126: 4, 127: 10}.get(data[1] & 0x7F, 2) + (4 if data[1] & 0x80 else 0)
    return data[0] & 0x0F, data[head:length], data[length:]


def client_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """Encode a client's frame of at most 125 bytes of payload; ``mask`` is 4 random bytes (RFC 6455, 5.3)."""
    keys = mask * (len(payload) // 4 + 1)
    masked = bytes(byte ^ key for byte, key in zip(payload, keys, strict=False))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked


def close_frame(code: int, mask: bytes = b"") -> bytes:
    """Encode a close frame without a reason; clients must pass ``mask``, 4 random bytes."""
    payload = code.to_bytes(2)
    return client_frame(CLOSE, payload, mask) if mask else b"\x88\x02" + payload
