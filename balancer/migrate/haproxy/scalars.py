"""Times, numbers and addresses as haproxy writes them (2.6, sections 2.5, 4.2 ``bind`` and 5.2 ``server``).

Each parser raises ``ValueError`` with a message that says what was expected.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from balancer.config.scalars import shown

_TIME = re.compile(r"([0-9]+)(us|ms|s|m|h|d)?")
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_SIZE = re.compile(r"([0-9]+)([kmg]?)")
_FAMILY = re.compile(
    r"(ipv4|ipv6|udp|udp4|udp6|tcp|tcp4|tcp6|unix|uxst|uxdg|abns|abnsz|fd|sockpair|quic4|quic6|rhttp)@"
)
_UNKNOWN_KINDS = ("udp", "udp4", "udp6", "uxdg", "abns", "abnsz", "fd", "sockpair", "quic4", "quic6", "rhttp")
_PORT = re.compile(r"([+-]?)([0-9]+)(?:-([0-9]+))?")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
_DAYS = 86400_000


@dataclass(frozen=True)
class Where:
    """An address: ``host`` as written (empty means any), a range of ports, or the ``path`` of a Unix socket."""

    host: str = ""
    first: int | None = None
    """The first port, if any."""
    last: int | None = None
    relative: bool = False
    """Whether the port is an offset to the one the client connected to."""
    path: str = ""

    @property
    def is_name(self) -> bool:
        """Return whether the host must be resolved."""
        return bool(self.host) and not is_address(self.host)


def is_address(text: str) -> bool:
    """Return whether it is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def milliseconds(text: str, unit: str = "ms") -> int:
    """Return a time in milliseconds, rounded up; ``unit`` applies if none is given."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a time (a number and us, ms, s, m, h or d), not {shown(text)}")
    value = -(-int(match[1]) * _MICROSECONDS[match[2] or unit] // 1000)
    if value >= 1 << 31:
        raise ValueError(f"a time is at most {2**31 // _DAYS} days, not {shown(text)}")
    return value


def timeout(text: str) -> int:
    """Return a timeout in milliseconds. 0 is none; the longest time of our configuration stands for it."""
    return milliseconds(text) or 365 * _DAYS


def number(text: str, least: int, most: int) -> int:
    """Return a whole number in a range."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ValueError(f"expected a whole number from {least} to {most}, not {shown(text)}")
    return int(text)


def size(text: str) -> int:
    """Return a size such as ``10m`` in bytes."""
    match = _SIZE.fullmatch(text)
    if match is None or len(match[1]) > 18:
        raise ValueError(f"expected a number of bytes, not {shown(text)}")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2]]


def where(text: str) -> Where:
    """Parse an address of a ``bind`` or ``server`` line."""
    match = _FAMILY.match(text)
    kind = match[1] if match else ""
    rest = text[match.end() :] if match else text
    if kind in _UNKNOWN_KINDS:
        raise ValueError(f"{kind}@ addresses are not supported: use an IP address and a port")
    if kind in ("unix", "uxst") or rest.startswith("/"):
        if not rest.startswith("/"):
            raise ValueError(f"the path of a Unix socket must start with a slash, not {shown(rest)}")
        return Where(path=rest)
    host, colon, ports = rest.rpartition(":")
    if not colon:
        host, ports = rest, ""
    host = host.removeprefix("[").removesuffix("]")
    if host == "*":
        host = ""
    if not ports:
        return Where(_host(host))
    match = _PORT.fullmatch(ports)
    if match is None or int(match[2]) > 65535 or int(match[3] or 0) > 65535:
        raise ValueError(f"expected a port after the colon of {shown(text)}")
    first = int(match[1] + match[2])
    return Where(_host(host), first, int(match[3] or first), relative=bool(match[1]))


def _host(text: str) -> str:
    if not text:
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        if not _HOST_NAME.fullmatch(text) or re.fullmatch("[0-9.]+", text):
            raise ValueError(f"{shown(text)} is neither an IP address nor a host name") from None
        return text
