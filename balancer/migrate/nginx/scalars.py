"""Times, sizes and addresses as nginx writes them (its manual, "Configuration file measurement units").

Each parser raises ``ValueError`` with a message that says what was expected.
"""

import re
from ipaddress import ip_address

from balancer.config.scalars import shown

_TIME = re.compile(r"(?:[0-9]+(?:ms|[smhdwMy])? *)+")
_PART = re.compile(r"([0-9]+)(ms|[smhdwMy])?")
_MILLISECONDS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3600_000,
    "d": 86400_000,
    "w": 7 * 86400_000,
    "M": 30 * 86400_000,
    "y": 365 * 86400_000,
}
_SIZE = re.compile(r"([0-9]{1,15})([kKmMgG]?)")
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/]+))(?::([0-9]{1,5}))?")


def milliseconds(text: str) -> int:
    """Return ``90s`` or ``1m30s`` in milliseconds; a plain number is in seconds."""
    if _TIME.fullmatch(text) is None or len(text) > 40:
        raise ValueError(f"expected a time (a number and ms, s, m, h or d), not {shown(text)}")
    return sum(int(number) * _MILLISECONDS[unit or "s"] for number, unit in _PART.findall(text))


def size(text: str) -> int:
    """Return a size such as ``10m`` in bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a number of bytes, not {shown(text)}")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def number(text: str, least: int, most: int) -> int:
    """Return a whole number in a range."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ValueError(f"expected a whole number from {least} to {most}, not {shown(text)}")
    return int(text)


def host_and_port(text: str, default: int | None) -> tuple[str, int]:
    """Split ``host:port``, ``host`` or ``[::1]:port``; ``default`` is the port if none is given."""
    match = _HOST_PORT.fullmatch(text)
    port = int(match[3]) if match and match[3] else default
    if match is None or port is None or not 0 < port <= 65535:
        raise ValueError(f"expected an address and a port, not {shown(text)}")
    return match[1] or match[2], port


def joined(host: str, port: int) -> str:
    """Return an address as our configuration writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_address(host: str) -> bool:
    """Return whether it is an IP address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
