"""The PROXY protocol, versions 1 and 2: a proxy tells the next one the addresses of the client's connection.

Source: haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. The caller decides whether the peer is trusted. A
malformed header ends the connection, as the protocol demands. Headers written here are for TCP over IPv4 or IPv6,
without TLVs.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, NamedTuple

from balancer.errors import ProxyError, Source

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_PREFIX = b"PROXY "
_MAX_LINE = 107
_MAX_BLOCK = 4096
"""Limit of a version 2 header's addresses and TLVs: enough for a certificate's names, less than the possible 64 KiB."""

_PORT = rb" (0|[1-9][0-9]{0,4})"
_LINE = re.compile(rb"TCP(?:4 ([0-9.]+) ([0-9.]+)|6 ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+))" + _PORT + _PORT)
_UNKNOWN = re.compile(rb"UNKNOWN(?: [\x20-\x7e]*)?")


class ProxyHeader(NamedTuple):
    """Both ends of the client's connection to the proxy. All None: use the addresses of the socket itself."""

    source: str | None = None
    source_port: int | None = None
    destination: str | None = None
    destination_port: int | None = None


def write(header: ProxyHeader, version: Literal["v1", "v2"]) -> bytes:
    """Encode a header. Without addresses it says that the connection is the proxy's own (UNKNOWN or LOCAL).

    If the ends have different families, the IPv4 address is written as an IPv4-mapped one (RFC 4291, 2.5.5.2).
    """
    if header.source is None or header.destination is None:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _SIGNATURE + b"\x20\0\0\0"
    ends = [
        ip_address(each.partition("%")[0]) for each in (header.source, header.destination)
    ]  # without our zone index
    ports = [header.source_port or 0, header.destination_port or 0]
    family = max(end.version for end in ends)
    if family == 6:
        ends = [IPv6Address(f"::ffff:{end}") if end.version == 4 else end for end in ends]
    if version == "v1":
        return f"PROXY TCP{family} {ends[0]} {ends[1]} {ports[0]} {ports[1]}\r\n".encode()
    block = b"".join(end.packed for end in ends) + b"".join(port.to_bytes(2, "big") for port in ports)
    return _SIGNATURE + (b"\x21\x11" if family == 4 else b"\x21\x21") + len(block).to_bytes(2, "big") + block


def parse(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Parse the header at the start of ``data``; return it and its length in bytes, or None if more bytes are needed.

    Raises ``ProxyError`` with status 400 as soon as ``data`` cannot become a header.
    """
    if data.startswith(_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(_PREFIX):
        return _parse_v1(data)
    if _SIGNATURE.startswith(data) or _PREFIX.startswith(data):
        return None
    raise _bad("no PROXY header")


def _parse_v1(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\r\n", 0, _MAX_LINE)
    if end < 0:
        if len(data) >= _MAX_LINE or b"\n" in data:
            raise _bad("a PROXY line that does not end")
        return None
    line = data[len(_PREFIX) : end]
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(), end + 2
    match = _LINE.fullmatch(line)
    if match is None:
        raise _bad("a malformed PROXY line")
    source4, destination4, source6, destination6, source_port, destination_port = match.groups()
    try:
        if source4 is not None:
            source, destination = str(IPv4Address(source4.decode())), str(IPv4Address(destination4.decode()))
        else:
            source, destination = _text(IPv6Address(source6.decode())), _text(IPv6Address(destination6.decode()))
    except ValueError:
        raise _bad("a PROXY line with an invalid address") from None
    return ProxyHeader(source, _port(source_port), destination, _port(destination_port)), end + 2


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > 65535:
        raise _bad("a PROXY line with an invalid port")
    return port


def _parse_v2(data: bytes) -> tuple[ProxyHeader, int] | None:
    if len(data) < 16:
        if len(data) > 12 and data[12] >> 4 != 2:
            raise _bad("a PROXY header of an unknown version")
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1:
        raise _bad("a PROXY header of an unknown version or command")
    if length > _MAX_BLOCK:
        raise _bad("a PROXY header that is too long")
    if len(data) < 16 + length:
        return None
    block, end = data[16 : 16 + length], 16 + length
    if command == 0:  # LOCAL: the proxy speaks for itself, "discard the protocol block including the family"
        return ProxyHeader(), end
    if family > 3 or transport > 2:
        raise _bad("a PROXY header of an unknown address family")
    size = (0, 4, 16, 108)[family]
    addresses = 2 * size + (4 if size in (4, 16) else 0)
    if length < addresses:
        raise _bad("a PROXY header without its addresses")
    _check_tlvs(block[addresses:])
    if size not in (4, 16) or transport == 0:
        return ProxyHeader(), end
    address = IPv4Address if size == 4 else IPv6Address
    ports = block[2 * size : 2 * size + 4]
    return (
        ProxyHeader(
            _text(address(block[:size])),
            int.from_bytes(ports[:2], "big"),
            _text(address(block[size : 2 * size])),
            int.from_bytes(ports[2:], "big"),
        ),
        end,
    )


def _text(address: IPv4Address | IPv6Address) -> str:
    """Convert IPv4-mapped addresses to IPv4: a client has one address, whatever family the proxy listens on."""
    return str(address.ipv4_mapped or address) if isinstance(address, IPv6Address) else str(address)


def _check_tlvs(rest: bytes) -> None:
    """Check that the rest consists of complete TLVs (type, length, value)."""
    while rest:
        following = 3 + int.from_bytes(rest[1:3], "big")
        if len(rest) < following:
            raise _bad("a PROXY header with a malformed TLV")
        rest = rest[following:]


def _bad(reason: str) -> ProxyError:
    return ProxyError(Source.CLIENT, 400, reason)
