"""Access log lines in the formats of other programs, as tools read them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.http.head import parse_request
from balancer.migrate.logs.haproxy import FORMATS, parser
from balancer.proxy.log_lines import other_line
from balancer.proxy.record import Record

COMBINED = re.compile(
    r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "([^"]*)" (\d+) (\d+) "([^"]*)" "([^"]*)"\n'
)


def record(sent=b"GET /a?token=secret HTTP/1.1\r\nHost: a\r\n\r\n", **values):
    made = Record(10.0)
    if sent:
        made.request = parse_request(sent)
        made.method, made.target = made.request.method, made.request.target
        made.head, made.connected, made.first_byte, made.status, made.tries = 10.25, 10.5, 10.75, 200, 1
        made.backend, made.bytes_out = "a", 123
    for name, value in values.items():
        setattr(made, name, value)
    return made


def line(kind, made, event="request", tls=""):
    about = {"client": "192.0.2.7", "port": 4711, "listener": "web", "pool": "ide", "tls": tls}
    return other_line(kind, event, made, now=11.0, **about)


def without_date(text):
    return re.sub(r"\[[^\]]*\]", "[]", text)


@pytest.mark.parametrize(
    ("made", "tls", "expected"),
    [
        (record(), "", '[] web ide/a 250/0/250/250/1000 200 123 - - ---- 0/0/0/0/0 0/0 "GET /a HTTP/1.1"\n'),
        (
            record(backend="", status=403, connected=0.0, first_byte=0.0, tries=0, ended="denied", by="internal"),
            "TLSv1.3",
            '[] web~ ide/<NOSRV> 250/-1/-1/-1/1000 403 123 - - PR-- 0/0/0/0/0 0/0 "GET /a HTTP/1.1"\n',
        ),
        (
            record(status=504, first_byte=0.0, tries=3, ended="late", by="backend"),
            "",
            '[] web ide/a 250/0/250/-1/1000 504 123 - - sH-- 0/0/0/0/2 0/0 "GET /a HTTP/1.1"\n',
        ),
        (
            record(b"", status=400, ended="bad", by="client"),
            "",
            '[] web ide/<NOSRV> -1/-1/-1/-1/1000 400 0 - - CR-- 0/0/0/0/0 0/0 "<BADREQ>"\n',
        ),
    ],
)
def test_requests_as_haproxy_logs_them(made, tls, expected):
    assert without_date(line("haproxy", made, tls=tls)) == f"192.0.2.7:4711 {expected}"


def test_connections_and_handshakes_as_haproxy_logs_them():
    made = record(b"", head=10.0, connected=10.5, backend="a", bytes_out=7, tries=1)
    assert without_date(line("haproxy", made, "close")) == "192.0.2.7:4711 [] web ide/a 0/500/1000 7 -- 0/0/0/0/0 0/0\n"
    assert without_date(line("haproxy", record(b""), "handshake")) == "192.0.2.7:4711 [] web/1: SSL handshake failure\n"
    assert line("haproxy", made, "open") == ""


def test_what_reads_logs_of_haproxy_reads_ours():
    parse = parser(FORMATS["httplog"])
    found = parse(line("haproxy", record()).rstrip().encode())
    assert (found.client, found.group, found.servers) == ("192.0.2.7", "ide", ("a",))


def test_combined():
    head = b'POST /a"b HTTP/1.0\r\nReferer: http://a/x?token=secret#y\r\nUser-Agent: a "b" \\\r\n\r\n'
    found = COMBINED.fullmatch(line("combined", record(head), "close"))
    assert found.groups() == (
        *("192.0.2.7", r"POST /a\x22b HTTP/1.0", "200", "123"),
        *("http://a/x", r"a \x22b\x22 \x5C"),
    )
    assert COMBINED.fullmatch(line("combined", record(b"", status=400)))[2] == ""
    assert line("combined", record(b""), "close") == line("combined", record(), "open") == ""


@given(
    st.sampled_from(["haproxy", "combined"]),
    st.sampled_from(["request", "open", "close", "handshake"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), min_size=1),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")),
)
def test_no_client_can_make_two_lines_of_one(kind, event, path, agent):
    made = record()
    made.target = b"/" + path.encode() + b"?token=secret"
    made.request.fields = b"\r\nUser-Agent: " + agent.encode("latin-1") + b"\r\n"
    text = line(kind, made, event)
    assert text.count("\n") == (1 if text else 0)
    assert text.endswith("\n") or not text
    assert "secret" not in text
    assert text.isascii()
