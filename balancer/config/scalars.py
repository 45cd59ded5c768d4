"""Parsers of the configuration file's scalars: durations, addresses, rates, networks, paths.

Each raises ``ValueError`` with a message that says what was expected; the loader adds file, line and key.
This module does not import pydantic (``config.fields`` does): processes that need only an ``Address`` start without it.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_STATUS = re.compile(r"[2-5](?:xx|[0-9]{2})")
_HOST_PATTERN = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]")
_PATH = re.compile(r'/[!"$->@-~]*')
_MAX_DURATION = 366 * 86400.0
MAX_WORKERS = 64
MAX_PORT = 65535
Level = Literal["debug", "info", "warning", "error"]
AccessFormat = Literal["json", "haproxy", "combined"]
Facility = Literal[
    "auth",
    "authpriv",
    "daemon",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
    "syslog",
    "user",
]
LogFormat = Literal["text", "json"]
"""Level and format of the log on standard error."""
_NAMES_LISTED = 20
_MIN_RATE, _MAX_RATE = 1 / 3600, 1e6
"""Per second."""


def shown(value: object, limit: int = 60) -> str:
    """Format a value for a message, as a TOML file would have it.

    The result is one line without control characters, safe for any terminal, with at most ``limit`` characters of text.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value[:limit].replace("\\", "\\\\").replace('"', '\\"')
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in escaped)
        return f'"{text}..."' if len(value) > limit else f'"{text}"'
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else "a number of more than 64 bits"
    if isinstance(value, float):
        return str(value)
    if isinstance(value, list):
        return "an array"
    return "a table" if isinstance(value, dict) else "a date or time"


def parse_duration(value: object) -> float:
    """Parse ``"10s"``, ``"500ms"``, ``"1h"``, a number and a unit (ms, s, m, h, d); return seconds."""
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'expected a duration such as "500ms", "10s", "5m" or "1h", not {shown(value)}')
    seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= _MAX_DURATION:
        raise ValueError(f"expected a duration above zero and of at most one year, not {shown(value)}")
    return seconds


def parse_delay(value: object) -> float:
    """Parse a duration as ``parse_duration`` does, or ``"0s"``."""
    return 0.0 if value == "0s" else parse_duration(value)


def parse_cut_after(value: object) -> float | Literal["never"]:
    """Parse a duration, or ``"never"``."""
    return "never" if value == "never" else parse_duration(value)


def format_duration(seconds: float) -> str:
    """Format a duration by its two largest units: ``3d 4h``, ``12m``, ``8s``."""
    left = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that there is no ``kind`` of that name, and which names there are."""
    names = list(known)
    more = f" and {len(names) - _NAMES_LISTED} more" if len(names) > _NAMES_LISTED else ""
    return f"there is no {kind} {shown(name)}; existing {kind}s: {', '.join(names[:_NAMES_LISTED]) or 'none'}{more}"


def shown_duration(seconds: float) -> str:
    """Return a duration as one would write it in the file: exactly, in the largest unit that makes a whole number."""
    for unit, size in reversed(_UNITS.items()):
        if (count := round(seconds / size)) and count * size == seconds:
            return f"{count}{unit}"
    return f"{_exactly(seconds)}s"


def shown_rate(rate: float) -> str:
    """Return a rate as one would write it in the file: exactly, in the shortest unit that makes a whole number."""
    if not rate:
        return "off"
    for unit in ("s", "m", "h"):
        if (count := round(rate * _UNITS[unit])) and count / _UNITS[unit] == rate:
            return f"{count}/{unit}"
    return f"{_exactly(rate)}/s"


def _exactly(number: float) -> str:
    """Return all digits of a number, without an exponent."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


@dataclass(frozen=True)
class Address:
    """The address of a socket: ``host`` and ``port``, or the ``path`` of a Unix socket (then ``host`` is empty)."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\]|([0-9.]+)):([0-9]{1,5})")


def _address_advice(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if "://" in value:
        return "; without a scheme and a path"
    if colon and host in ("", "*"):
        return '; every address of the machine is "0.0.0.0" and "[::]"'
    if ":" in host and "[" not in host:
        return "; an IPv6 address stands in brackets"
    if re.search("[G-Zg-z]", host):
        return "; names are not resolved: write the IP address"
    return "" if host and port else "; add the port"


def parse_address(value: object) -> Address:
    """Parse ``"127.0.0.1:8443"``, ``"[::1]:8443"`` or ``"unix:/run/ide.sock"``."""
    if isinstance(value, Address):
        return value
    form = f'expected an address such as "127.0.0.1:8443", "[::1]:8443" or "unix:/path", not {shown(value)}'
    if not isinstance(value, str):
        raise ValueError(form)
    if value.startswith("unix:"):
        path = value.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f'expected a Unix socket such as "unix:/absolute/path", not {shown(value)}')
        if len(path.encode()) > 107:  # sun_path (unix(7)) less the final zero byte
            raise ValueError("the path of a Unix socket may have at most 107 bytes")
        return Address(path=path)
    match = _HOST_PORT.fullmatch(value)
    if match is None:
        raise ValueError(form + _address_advice(value))
    try:
        host = ip_address(match[1] or match[2])
    except ValueError:
        raise ValueError(form) from None
    if (port := int(match[3])) > MAX_PORT:
        raise ValueError(f"expected a port of at most {MAX_PORT}, not {port}")
    return Address(str(host), port)


_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/([smh])")


def parse_rate(value: object) -> float:
    """Parse ``"20/s"``, ``"5/m"``, ``"100/h"``; return a rate per second, 0 for ``"off"``."""
    if value == "off":
        return 0.0
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'expected a rate such as "20/s", "5/m" or "100/h", or "off", not {shown(value)}')
    rate = float(match[1]) / _UNITS[match[2]]
    if not _MIN_RATE <= rate <= _MAX_RATE:
        raise ValueError(f'expected a rate from "1/h" to "1000000/s", or "off", not {shown(value)}')
    return rate


@dataclass(frozen=True)
class Memory:
    """A memory limit: a ``share`` of the memory available to the daemon, or ``bytes``; no limit if both are 0."""

    share: float = 0.0
    bytes: int = 0

    def __str__(self) -> str:
        return f"{self.share:.0%}" if self.share else f"{self.bytes}B" if self.bytes else "off"


_MEMORY = re.compile(r"([0-9]{1,12})(%|B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_memory(value: object) -> Memory:
    """Parse ``"75%"`` (of the available memory), ``"512MiB"``, ``"2GiB"`` or ``"off"``."""
    if isinstance(value, Memory):
        return value
    if value == "off":
        return Memory()
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    amount = int(match[1]) if match else 0
    if match is None or not amount or (match[2] == "%" and amount > 100):
        raise ValueError(f'expected memory such as "75%" (1 to 100), "512MiB", "2GiB" or "off", not {shown(value)}')
    return Memory(share=amount / 100) if match[2] == "%" else Memory(bytes=amount * _BYTES[match[2]])


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """Parse ``"10.0.0.0/8"``, ``"2001:db8::/32"`` or a single address."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError:
        message = f'expected a network such as "10.0.0.0/8" or "2001:db8::/32" (host bits zero), not {shown(value)}'
    with suppress(ValueError):
        message += f'; did you mean "{ip_network(value, strict=False)}"?' if isinstance(value, str) else ""
    raise ValueError(message)


def parse_status(value: object) -> str:
    """Parse an HTTP status such as ``200`` or a class such as ``"2xx"``; return it as text."""
    if isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599:
        return str(value)
    if isinstance(value, str) and _STATUS.fullmatch(value):
        return value
    raise ValueError(f'expected a status from 200 to 599 or a class such as "2xx", not {shown(value)}')


def parse_workers(value: object) -> int | str:
    """Parse ``"auto"`` (one worker per CPU) or the number of workers."""
    if value == "auto":
        return "auto"
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_WORKERS:
        raise ValueError(f'expected "auto" or a whole number from 1 to {MAX_WORKERS}, not {shown(value)}')
    return value


def parse_host_pattern(value: object) -> str:
    """Parse ``"ide.example"``, ``"*.ide.example"`` or ``"[2001:db8::1]"``; return it in lower case."""
    if not isinstance(value, str) or _HOST_PATTERN.fullmatch(value) is None or len(value) > 255:
        raise ValueError(f'expected a host such as "ide.example" or "*.ide.example", not {shown(value)}')
    return value.lower().rstrip(".")


def parse_path(value: object) -> str:
    """Check a path as in a request: ``"/"``, then visible ASCII without ``?`` and ``#``."""
    if not isinstance(value, str) or _PATH.fullmatch(value) is None:
        raise ValueError(f'expected a path such as "/api/", without spaces, ? and #, not {shown(value)}')
    return value
