"""Field types for the scalars of the configuration file: how pydantic parses, serializes and describes each."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from balancer.config.scalars import (
    DURATION,
    Address,
    Memory,
    parse_address,
    parse_cut_after,
    parse_delay,
    parse_duration,
    parse_host_pattern,
    parse_memory,
    parse_network,
    parse_path,
    parse_rate,
    parse_status,
    parse_workers,
    shown,
    shown_duration,
    shown_rate,
)

_LOGS = ("stdout", "off", "journal")
"""Targets of the access log that are no files."""


def parse_file(value: object, info: ValidationInfo) -> Path:
    """Parse a path; a relative one is relative to the configuration file's directory (``context["base"]``)."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected a path, not {shown(value)}")
    base: Path = (info.context or {}).get("base", Path())
    return base / value


def parse_log_target(value: object, info: ValidationInfo) -> Path | str:
    """Parse ``"stdout"``, ``"off"``, ``"journal"``, ``"syslog"`` with or without an address, or the path of a file."""
    if value == "syslog":
        return "syslog:/dev/log"
    if isinstance(value, str) and value.startswith("syslog:"):
        address = value.removeprefix("syslog:")
        return value if address.startswith("/") else f"syslog:{parse_address(address)}"
    return value if isinstance(value, str) and value in _LOGS else parse_file(value, info)


def as_array(value: object) -> object:
    """Return the array of a single table, which stands for it."""
    return [value] if isinstance(value, dict) else value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(shown_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION.pattern}$", "examples": ["500ms", "10s", "1h"]}),
]
Delay = Annotated[
    float,
    BeforeValidator(parse_delay),
    PlainSerializer(shown_duration, when_used="json"),
]
CutAfter = Annotated[
    float | Literal["never"],
    BeforeValidator(parse_cut_after),
    PlainSerializer(lambda value: value if value == "never" else shown_duration(value), when_used="json"),
]
Rate = Annotated[float, BeforeValidator(parse_rate), PlainSerializer(shown_rate, when_used="json")]
AmountOfMemory = Annotated[Memory, BeforeValidator(parse_memory), PlainSerializer(str)]
BackendAddress = Annotated[
    Address,
    BeforeValidator(parse_address),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8443", "[::1]:8443", "unix:/run/ide.sock"]}),
]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(parse_network)]
File = Annotated[Path, BeforeValidator(parse_file)]
LogTarget = Annotated[str | Path, BeforeValidator(parse_log_target)]
Status = Annotated[str, BeforeValidator(parse_status)]
HostPattern = Annotated[str, BeforeValidator(parse_host_pattern)]
UrlPath = Annotated[str, BeforeValidator(parse_path)]
Workers = Annotated[Literal["auto"] | int, BeforeValidator(parse_workers)]
