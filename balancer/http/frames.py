"""Where WebSocket frames begin and end, followed without looking inside (RFC 6455, 5.2).

A relay that has to end a tunnel may put a close frame of its own only between two frames; control frames may stand
between the frames of a fragmented message (5.4), so the end of any frame will do.
"""

SERVICE_RESTART = 1012
"""Close code that tells a client to come back (IANA registry of RFC 6455 close codes)."""


class Frames:
    """One direction of a WebSocket. Extensions such as permessage-deflate do not change where frames end."""

    __slots__ = ("_begun", "_left")

    def __init__(self) -> None:
        self._left = 0
        """Bytes of the present frame still to come."""
        self._begun = b""
        """First bytes of a frame whose length is not yet known."""

    @property
    def between(self) -> bool:
        """Everything fed so far is whole frames."""
        return not self._left and not self._begun

    def feed(self, data: bytes) -> None:
        """Follow the next bytes sent in this direction."""
        left = self._left
        if left > len(data):
            self._left = left - len(data)
            return
        if self._begun:
            data = self._begun + data
            self._begun = b""
        position, end = left, len(data)
        while position < end:
            header = data[position : position + 10]
            length = _frame_length(header)
            if length is None:
                self._begun = header
                break
            position += length
        self._left = max(0, position - end)


def _frame_length(header: bytes) -> int | None:
    """Length of a whole frame that begins with ``header``; None if more of it is needed."""
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


def close_frame(code: int, mask: bytes = b"") -> bytes:
    """A close frame without a reason; ``mask`` (4 random bytes) is what a client has to use."""
    payload = code.to_bytes(2)
    if not mask:
        return b"\x88\x02" + payload
    return b"\x88\x82" + mask + bytes(byte ^ key for byte, key in zip(payload, mask, strict=False))
