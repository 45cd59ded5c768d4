"""Read what a TLS ClientHello asks for without terminating TLS (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3; RFC 7301).

A handshake message may be split over several records, and a record over several reads. Nothing has to be decrypted: in
all versions of TLS the first message of a client is in clear text.
"""

import re

from balancer.errors import ProxyError, Source

_MAX_HELLO = 16384
_MAX_RECORD = 16384
_MAX_RECORDS = 32
_CLIENT_HELLO = b"\x01"
_SERVER_NAME = b"\x00\x00"
_ALPN = b"\x00\x10"
_HOST_NAME = b"\x00"
_NAME = re.compile(rb"(?=.{1,255}\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*+")


def server_name(data: bytes) -> str | None:
    """Return the server name in lower case, empty if there is none, or None if more bytes are needed.

    Raises ``ProxyError`` with status 400 as soon as ``data`` cannot become a ClientHello of at most 16 KiB.
    """
    extensions = _extensions(data)
    if extensions is None:
        return None
    names = [content for kind, content in extensions if kind == _SERVER_NAME]
    if len(names) > 1:
        raise _bad("a ClientHello with two server names")
    return _host_name(names[0]) if names else ""


def protocols(data: bytes) -> list[bytes] | None:
    """Return the protocols that are offered by ALPN (RFC 7301), or None if more bytes are needed.

    Raises ``ProxyError`` as ``server_name`` does.
    """
    extensions = _extensions(data)
    if extensions is None:
        return None
    offered = []
    for kind, content in extensions:
        if kind == _ALPN:
            names, rest = _vector(content, 2)
            if rest:
                raise _bad("a malformed list of protocols")
            while names:
                name, names = _vector(names, 1)
                offered.append(name)
    return offered


def _extensions(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return the extensions of a ClientHello, or None if more bytes are needed."""
    hello = _handshake(data)
    if hello is None:
        return None
    body = hello[2 + 32 :]  # after version and random
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        _, body = _vector(body, width)
    found: list[tuple[bytes, bytes]] = []
    if not body:  # extensions are optional
        return found
    extensions, body = _vector(body, 2)
    if body:
        raise _bad("bytes after a ClientHello")
    while extensions:
        kind, extension = extensions[:2], extensions[2:]
        content, extensions = _vector(extension, 2)
        found.append((kind, content))
    return found


def _handshake(data: bytes) -> bytes | None:
    """The body of the first handshake message, joined from its records."""
    message = b""
    for _ in range(_MAX_RECORDS):
        # Type 22 is a handshake; the version's first byte has been 3 since SSL 3.0.
        if not b"\x16\x03".startswith(data[:2]):
            raise _bad("no TLS handshake")
        if len(data) < 5:
            return None
        length = int.from_bytes(data[3:5], "big")
        if not 0 < length <= _MAX_RECORD:
            raise _bad("a TLS record of invalid length")
        message += data[5 : 5 + length]
        if not message.startswith(_CLIENT_HELLO[: len(message)]):
            raise _bad("no ClientHello")
        if len(message) >= 4:
            size = int.from_bytes(message[1:4], "big")
            if size > _MAX_HELLO:
                raise _bad("a ClientHello that is too long")
            if len(message) >= 4 + size:
                return message[4 : 4 + size]
        if len(data) < 5 + length:
            return None
        data = data[5 + length :]
    raise _bad("a ClientHello in too many pieces")


def _host_name(content: bytes) -> str:
    names, rest = _vector(content, 2)
    kind, host = names[:1], names[1:]
    name, more = _vector(host, 2)
    if rest or more or kind != _HOST_NAME or _NAME.fullmatch(name) is None:
        raise _bad("a malformed server name")
    return name.decode().lower()


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    """A vector preceded by its length in ``width`` bytes, and the rest after it (RFC 8446, 3.4)."""
    end = width + int.from_bytes(data[:width], "big")
    if len(data) < width or len(data) < end:
        raise _bad("a truncated ClientHello")
    return data[width:end], data[end:]


def _bad(reason: str) -> ProxyError:
    return ProxyError(Source.CLIENT, 400, reason)
