"""What stands before or inside a connection: PROXY headers, ClientHellos, WebSocket frames, however they are cut."""

import contextlib
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

from balancer.errors import ProxyError, Source
from balancer.http.client_hello import server_name
from balancer.http.frames import Frames
from balancer.http.proxy_protocol import parse

T = TypeVar("T")


def proxy_header(data: bytes) -> None:
    """A PROXY header is found in any beginning that holds all of it, and nothing after it changes it."""
    found = _settled(parse, data)
    if isinstance(found, tuple):
        header, end = found
        assert 0 < end <= len(data)
        assert parse(data[:end]) == found
        for address in (header.source, header.destination):
            assert address is None or str(ip_address(address)) == address
        for port in (header.source_port, header.destination_port):
            assert port is None or 0 <= port < 1 << 16
        assert (header.source is None) == (header.destination is None)


def client_hello(data: bytes) -> None:
    """The name in a ClientHello is the one OpenSSL sees, if it sees any."""
    name = _settled(server_name, data)
    if not isinstance(name, str):
        return
    assert name == name.lower()
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, theirs, __: asked.append(theirs)
    received = ssl.MemoryBIO()
    received.write(data)
    with contextlib.suppress(ssl.SSLError):
        context.wrap_bio(received, ssl.MemoryBIO(), server_side=True).do_handshake()
    if asked:
        assert (asked[0] or "").lower() == name, "we would place this connection by another name than OpenSSL"


def frames(data: bytes) -> None:
    """Ends of frames are where a plain reading of RFC 6455, 5.2 finds them, whole or byte by byte."""
    ends, position = {0}, 0
    while (position := _frame_end(data, position)) <= len(data):
        ends.add(position)
    whole, bytewise = Frames(), Frames()
    whole.feed(data)
    assert whole.at_boundary == (len(data) in ends)
    for index in range(len(data)):
        bytewise.feed(data[index : index + 1])
        assert bytewise.at_boundary == (index + 1 in ends)


def _frame_end(data: bytes, start: int) -> int:
    """Where the frame ends that begins at ``start``; beyond the data if it does not say so yet."""
    if len(data) < start + 2:
        return len(data) + 1
    masked, length = data[start + 1] >> 7, data[start + 1] & 127
    width = {126: 2, 127: 8}.get(length, 0)
    if len(data) < start + 2 + width:
        return len(data) + 1
    if width:
        length = int.from_bytes(data[start + 2 : start + 2 + width], "big")
    return start + 2 + width + 4 * masked + length


def _settled(read: Callable[[bytes], T | None], data: bytes) -> T | str | None:
    """What ``read`` makes of the data; every beginning of them is undecided, or decided alike."""
    whole = _read(read, data)
    for end in {1, 2, 3, 5, 12, 16, len(data) // 2, len(data) - 1}:
        if 0 < end < len(data):
            part = _read(read, data[:end])
            assert part is None or part == whole, "more bytes have changed what the first ones said"
    return None if isinstance(whole, ProxyErrorSeen) else whole


class ProxyErrorSeen(str):
    """A refusal, which need not be in the same words with more bytes at hand."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProxyErrorSeen)

    __hash__ = str.__hash__


def _read(read: Callable[[bytes], T | None], data: bytes) -> T | ProxyErrorSeen | None:
    if not data:
        return None
    try:
        return read(data)
    except ProxyError as error:
        assert (error.source, error.status) == (Source.CLIENT, 400)
        return ProxyErrorSeen(error)
