"""Lines of the access log as JSON.

Facts. A line is made for each request, so its cost shows: with a formatter for each number and each text quoted it took
35,000 instructions, a quarter of a GET. Times are whole tenths of a millisecond, written with integers. A method
has no character that JSON escapes (``http.grammar.TOKEN``); paths and request ids (``http.forward``) are printable
ASCII, of which JSON escapes two: looking for those takes 200 instructions, ``isprintable`` ten for each character.
"""

import json
from typing import Final

from balancer.http.token import without_query
from balancer.proxy.record import Record

_quote: Final = json.encoder.encode_basestring_ascii


def json_line(
    event: str, record: Record, *, moment: str, client: str, listener: str, pool: str, tls: str, now: float
) -> str:
    """Return the line of one event at ``moment`` (RFC 3339), with its line end."""
    ended = '"ok"' if record.ended == "ok" else _quote(record.ended)
    began, queued = record.started, record.queued
    head, connected, first = record.head, record.connected, record.first_byte
    start = (
        f'{{"time":"{moment}","event":"{event}","client":{_printable(client)},"listener":"{listener}","pool":"{pool}"'
        f',"backend":"{record.backend}","why":"{record.reason}","tries":{record.tries},"skipped":'
    )
    request = (
        f',"method":"{record.method.decode("latin-1")}","path":{_printable(without_query(record.target))}'
        f',"status":{record.status},"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out}'
    )
    times = (
        f',"tls_ms":{_ms(record.tls_seconds)},"head_ms":{_ms(head - began) if head else "null"}'
        f',"queue_ms":{_ms(queued)},"connect_ms":{_ms(connected - head - queued) if connected else "null"}'
        f',"first_byte_ms":{_ms(first - connected) if first else "null"},"total_ms":{_ms(now - began)}'
    )
    end = (
        f',"tls":"{tls}","request_id":{_printable(record.request_id.decode("latin-1"))},"token":"{record.digest}"'
        f',"token_from":"{record.token_from}","ended":{ended},"by":"{record.by}"}}\n'
    )
    skipped = json.dumps(dict(record.skipped)) if record.skipped else "{}"
    return start + skipped + request + times + end


def _ms(seconds: float) -> str:
    """Return milliseconds with one decimal."""
    tenths = int(seconds * 10000.0 + 0.5)
    return f"{tenths // 10}.{tenths % 10}" if tenths > 0 else "0.0"


def _printable(text: str) -> str:
    """Return printable ASCII in quotation marks."""
    return _quote(text) if '"' in text or "\\" in text else '"' + text + '"'
