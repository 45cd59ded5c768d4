"""nginx's access log: lines that nginx has written, log formats taken apart, and lines nobody has written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.pool import TokenConfig
from balancer.errors import Refused
from balancer.migrate.logs.entry import LoggedRequest, seconds
from balancer.migrate.logs.nginx import parser

MAIN = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "$upstream_addr $upstream_status $request_time"
)
LINE = (
    b'127.0.0.1 - - [22/Nov/2026:13:45:10 +0000] "GET /?token=a\\x22b HTTP/1.1" 200 2 "-" "curl/7.88.1" '
    b"10.0.0.1:4001, [::1]:4002 502, 200 4.021"
)
JSON = 'escape=json {"time":"$time_iso8601","addr":"$upstream_addr","uri":"$request_uri","agent":"$http_user_agent"}'
WHEN = seconds(b"22/Nov/2026:13:45:10")


def test_the_usual_format_with_the_upstream_behind_it():
    assert parser(MAIN, TokenConfig())(LINE) == LoggedRequest(
        WHEN - 5, b'/?token=a"b', "127.0.0.1", None, ("10.0.0.1:4001", "[::1]:4002")
    )


def test_json():
    line = '{"time":"2026-11-22T13:45:10+01:00","addr":"unix:/run/a.sock","uri":"/é?token=a\\"b\\\\","agent":"\\"}"}'
    assert parser(JSON, TokenConfig())(line.encode()) == LoggedRequest(
        WHEN, '/é?token=a"b\\'.encode(), "", None, ("unix:/run/a.sock",)
    )


@pytest.mark.parametrize(
    ("layout", "line", "target"),
    [
        ("$arg_token $upstream_addr", b"t1 1.2.3.4:80", b"/?token=t1"),
        ("$upstream_addr ${args};", b"1.2.3.4:80 x=1&token=t1;", b"/?x=1&token=t1"),
        ("$host$request_uri $upstream_addr", b"ide.example/?token=t1 1.2.3.4:80", b"/?token=t1"),
        ("$upstream_addr|$query_string", b"1.2.3.4:80|-", b"/?"),
        ("$upstream_addr $remote_addr", b"1.2.3.4:80 ::1", None),
    ],
)
def test_where_the_token_may_be(layout, line, target):
    found = parser(layout, TokenConfig())(line)
    assert isinstance(found, LoggedRequest)
    assert (found.target, found.servers) == (target, ("1.2.3.4:80",))


def test_tokens_in_headers_and_cookies():
    found = parser("$upstream_addr $http_x_user", TokenConfig(source="header", header="X-User"))(b"1.2.3.4:80 t1")
    assert isinstance(found, LoggedRequest)
    assert (found.target, found.fields) == (b"/", b"X-User: t1\r\n")
    found = parser("$upstream_addr $cookie_Sid", TokenConfig(source="cookie", cookie="Sid"))(b"1.2.3.4:80 t1")
    assert isinstance(found, LoggedRequest)
    assert found.fields == b"Cookie: Sid=t1\r\n"


@pytest.mark.parametrize(
    ("servers", "statuses", "expected", "served"),
    [
        ("-", "-", (), True),
        ("ide", "502", (), False),  # no live server: the name of the upstream
        ("1.2.3.4:80", "504", ("1.2.3.4:80",), False),
        ("1.2.3.4:80 : 5.6.7.8:90, 5.6.7.9:90", "404 : 502, 200", ("5.6.7.8:90", "5.6.7.9:90"), True),
    ],
)
def test_servers_that_were_tried(servers, statuses, expected, served):
    found = parser("$upstream_addr|$upstream_status|$args", TokenConfig())(f"{servers}|{statuses}|token=x".encode())
    assert isinstance(found, LoggedRequest)
    assert (found.servers, found.served) == (expected, served)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("$request", r"no \$upstream_addr"),
        ("$upstream_addr", "must contain the token"),
        ("$upstream_addr $http_host$args", "nothing in between"),
        ("$upstream_addr $request $", "does not start a variable"),
    ],
)
def test_formats_that_will_not_do(layout, message):
    with pytest.raises(Refused, match=message):
        parser(layout, TokenConfig())


@given(st.binary(), st.binary())
def test_a_client_cannot_forge_a_line(query, agent):
    query, target = query.replace(b" ", b"+"), b"/?" + query.replace(b" ", b"+")
    line = b'1.1.1.1 - - [22/Nov/2026:13:45:10 +0000] "GET /?%b HTTP/1.1" 200 2 "-" "%b" 1.2.3.4:80 200 0.000'
    found = parser(MAIN, TokenConfig())(line % (_escaped(query), _escaped(agent)))
    assert found == LoggedRequest(WHEN, target, "1.1.1.1", None, ("1.2.3.4:80",))


@given(st.text(), st.text())
def test_nor_one_of_json(query, agent):
    line = (
        f'{{"time":"2026-11-22T13:45:10+01:00","addr":"1.2.3.4:80","uri":{_json("/?" + query)},"agent":{_json(agent)}}}'
    )
    assert parser(JSON, TokenConfig())(line.encode()) == LoggedRequest(
        WHEN, f"/?{query}".encode(), "", None, ("1.2.3.4:80",)
    )


@given(
    st.lists(st.sampled_from([LINE, b'"', b"\\", b"-", b"[", b" "]) | st.binary(max_size=9), max_size=9).map(b"".join)
)
def test_no_line_makes_it_fail(line):
    for layout in (MAIN, JSON, "escape=json $args $upstream_addr", "escape=none $upstream_addr $msec $args"):
        parser(layout, TokenConfig())(line)


def _escaped(text):
    return b"".join(b"\\x%02X" % c if c in b'"\\' or not 32 <= c <= 126 else bytes([c]) for c in text)


def _json(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
