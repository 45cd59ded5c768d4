"""Lines of the access log in the formats of other programs, for tools that read those.

haproxy's ``option httplog`` and ``option tcplog`` (haproxy 2.6, 8.2.2 and 8.2.3), and the format ``combined`` of nginx
and Apache. Both have one line for a request or connection, at its end. Fields that have no counterpart here, such as
numbers of connections, are 0. Queries are left out, also of the page that sent the request: they may hold tokens.
"""

import time
from functools import lru_cache
from typing import Final

from balancer.config.scalars import AccessFormat
from balancer.http.token import without_query
from balancer.proxy.record import Record

_UNNAMED: Final = "<NOSRV>"
_NOT_PLAIN: Final = {code: f"#{code:02X}" for code in (*range(32), 34, 35, *range(127, 256))}
"""What haproxy escapes in requests, and how."""
_NOT_COMBINED: Final = {code: f"\\x{code:02X}" for code in (*range(32), 34, 92, *range(127, 256))}
"""What nginx escapes, and how."""
_SIDES: Final = {"client": "C", "backend": "S", "internal": "P"}


def other_line(
    kind: AccessFormat,
    event: str,
    record: Record,
    *,
    client: str,
    port: int,
    listener: str,
    pool: str,
    tls: str,
    now: float,
) -> str:
    """Return a line with its line end; an empty text if the format has none for this event."""
    if kind == "haproxy":
        return _haproxy(event, record, client, port, f"{listener}~" if tls else listener, pool, now)
    return _combined(event, record, client)


def _haproxy(event: str, record: Record, client: str, port: int, frontend: str, pool: str, now: float) -> str:
    began = time.time() - (now - record.started)
    head = f"{client}:{port} [{_local(int(began))}.{int(began % 1 * 1000):03d}] {frontend}"
    if event == "handshake":
        return f"{head}/1: SSL handshake failure\n"
    if event == "open":
        return ""
    backend = f"{pool}/{record.backend or _UNNAMED}"
    connected = record.connected - record.head - record.queued if record.connected else None
    waited, total = record.queued if record.connected else None, now - record.started
    tries = max(record.tries - 1, 0)
    if not record.method and not record.status:  # a connection of a TCP listener
        times = f"{_ms(waited)}/{_ms(connected)}/{_ms(total)}"
        return f"{head} {backend} {times} {record.bytes_out} {_ending(record)[:2]} 0/0/0/0/{tries} 0/0\n"
    received = record.head - record.started if record.head else None
    answered = record.first_byte - record.connected if record.first_byte else None
    times = f"{_ms(received)}/{_ms(waited)}/{_ms(connected)}/{_ms(answered)}/{_ms(total)}"
    request = f"{_request(record, _NOT_PLAIN)}" if record.method else "<BADREQ>"
    return (
        f"{head} {backend} {times} {record.status} {record.bytes_out} - - {_ending(record)} 0/0/0/0/{tries} 0/0 "
        f'"{request}"\n'
    )


def _combined(event: str, record: Record, client: str) -> str:
    if event not in ("request", "close") or not (record.method or record.status):
        return ""
    moment = time.time()
    request = _request(record, _NOT_COMBINED) if record.method else ""
    referer, agent = _field(record, b"referer").partition("?")[0].partition("#")[0], _field(record, b"user-agent")
    return (
        f'{client} - - [{_with_zone(int(moment))}] "{request}" {record.status} {record.bytes_out} '
        f'"{referer or "-"}" "{agent or "-"}"\n'
    )


def _request(record: Record, escapes: dict[int, str]) -> str:
    method = record.method.decode("latin-1").translate(escapes)
    minor = record.request.minor if record.request is not None else 1
    return f"{method} {without_query(record.target).translate(escapes)} HTTP/1.{minor}"


def _field(record: Record, name: bytes) -> str:
    values = record.request.field(name) if record.request is not None else []
    return values[0].decode("latin-1").translate(_NOT_COMBINED) if values else ""


def _ending(record: Record) -> str:
    """Return haproxy's termination state: who ended it, and in which phase."""
    if record.ended == "ok":
        return "----"
    side = _SIDES.get(record.by, "P")
    if record.status in (408, 504):
        side = {"C": "c", "S": "s"}.get(side, side)
    phase = "D" if record.first_byte else "H" if record.connected else "C" if record.head and side in "Ss" else "R"
    return f"{side}{phase}--"


def _ms(seconds: float | None) -> int:
    return -1 if seconds is None else max(0, int(seconds * 1000))


@lru_cache(4)
def _local(seconds: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(seconds))


@lru_cache(4)
def _with_zone(seconds: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(seconds))
