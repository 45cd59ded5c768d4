"""A line of the access log is JSON, whatever a client wrote, and its times are right to a tenth of a millisecond."""

import json

from hypothesis import given
from hypothesis import strategies as st

from balancer.http import grammar
from balancer.proxy.log_json import json_line
from balancer.proxy.record import Record

seconds = st.one_of(st.just(0.0), st.floats(0.0001, 1e6))


def line(record, now=0.0, client="192.0.2.7"):
    made = json_line("request", record, moment="then", client=client, listener="a", pool="b", tls="", now=now)
    assert made.endswith("}\n")
    assert made.count("\n") == 1
    return json.loads(made)


@given(
    st.from_regex(grammar.TOKEN, fullmatch=True),
    st.binary(max_size=40).map(lambda text: text.replace(b"?", b"")),
    st.from_regex(rb"[!-~]{1,128}", fullmatch=True),
    st.text(max_size=40),
)
def test_texts(method, path, request_id, ended):
    record = Record(0.0)
    record.method, record.target, record.request_id, record.ended = method, path + b"?token=a", request_id, ended
    found = line(record, client="fe80::1%\"'\\")
    assert found["method"] == method.decode("latin-1")
    assert found["request_id"] == request_id.decode("latin-1")
    assert (found["ended"], found["client"]) == (ended, "fe80::1%\"'\\")
    shown = path.decode("latin-1")
    assert found["path"] == shown if shown.isascii() and shown.isprintable() else "token" not in found["path"]


@given(st.lists(seconds, min_size=5, max_size=5))
def test_times(passed):
    head, queued, connected, first, end = passed
    record = Record(1.0)
    record.tls_seconds, record.queued = queued, queued
    record.head = 1.0 + head
    record.connected = record.head + queued + connected
    record.first_byte = record.connected + first
    found = line(record, record.first_byte + end)
    expected = {
        "tls_ms": queued,
        "head_ms": record.head - 1.0,
        "queue_ms": queued,
        "connect_ms": record.connected - record.head - queued,
        "first_byte_ms": record.first_byte - record.connected,
        "total_ms": record.first_byte + end - 1.0,
    }
    assert all(abs(found[name] - each * 1000) < 0.051 + each * 1e-9 for name, each in expected.items())


def test_what_did_not_happen():
    found = line(Record(1.0), 0.5)
    assert (found["head_ms"], found["connect_ms"], found["first_byte_ms"], found["total_ms"]) == (None, None, None, 0.0)
    assert (found["skipped"], found["tries"], found["by"]) == ({}, 0, "")
    record = Record(1.0)
    record.skipped = (("a", "down"), ("b", "full"))
    assert line(record)["skipped"] == {"a": "down", "b": "full"}
