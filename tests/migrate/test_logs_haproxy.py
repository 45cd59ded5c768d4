"""haproxy's log: lines that haproxy 2.6 has written, formats taken apart, and lines nobody has written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import Refused
from balancer.migrate.logs.entry import Change, LoggedRequest, seconds
from balancer.migrate.logs.haproxy import FORMATS, detector, parser

HTTPLOG = (
    rb"127.0.0.1:40496 [22/Nov/2026:13:22:21.148] web~ ide/s3 0/1001/1/0/1002 200 124 - - ---- 1/1/0/0/+2 0/0 "
    rb'{curl/7.88.1|} "GET /a#22b?token=<x>\[]{}|^` HTTP/1.1"'
)
TCPLOG = b"::1:60796 [22/Nov/2026:13:22:30.303] t1 t1/s1 1/0/0 149 -- 1/1/0/0/0 0/0"
CLF = (
    b'10.1.2.3 - - [22/Nov/2026:13:22:23 +0000] "GET /?token=a#23 HTTP/1.1" 200 124 "" "" 50162 655 "f2" "ide" "s3"'
    b' 0 1001 0 0 1001 --VN 1 1 0 0 0 0 0 "" ""'
)
CUSTOM = "%{+Q}o %ci %t %b %s %HM %HU %HQ %[capture.req.uri] %rc %tsc"
CUSTOM_LINE = (
    b'"127.0.0.1" 22/Nov/2026:13:22:30.119 "ide" "s1" "GET" "/?token=tok1" "?token=tok1" "/?token=tok1" 0 ----'
)
WHEN = seconds(b"22/Nov/2026:13:22:21")
SYSLOG = [
    b"",
    b"<134>Nov 22 13:22:20 haproxy[30350]: ",
    b"Nov 22 13:22:20 lb1 haproxy[30350]: ",
    b"Nov  2 13:22:20 lb1 local-tag: ",
    b"2026-11-22T13:22:20.123456+01:00 lb1 haproxy[7]: ",
    b"<134>1 2026-11-22T13:22:20.123Z lb1 haproxy 30350 - - ",
]


@pytest.mark.parametrize("header", SYSLOG)
def test_httplog_behind_every_header_of_syslog(header):
    assert detector()(header + HTTPLOG) == LoggedRequest(
        WHEN, rb'/a"b?token=<x>\[]{}|^`', "127.0.0.1", "ide", ("s3",), redispatched=True
    )


def test_httpslog_and_no_captured_headers():
    line = HTTPLOG.replace(b"{curl/7.88.1|} ", b"") + b" 0/-/-/-/0 ide.example/TLSv1.3/TLS_AES_128_GCM_SHA256"
    found = detector()(line)
    assert isinstance(found, LoggedRequest)
    assert (found.group, found.servers, found.target) == ("ide", ("s3",), rb'/a"b?token=<x>\[]{}|^`')


def test_tcplog_of_an_ipv6_client():
    assert detector()(TCPLOG) == LoggedRequest(WHEN + 9, None, "::1", "t1", ("s1",))


def test_clf():
    assert detector()(CLF) == LoggedRequest(WHEN + 2, b"/?token=a#", "10.1.2.3", "ide", ("s3",), by_cookie=True)


def test_a_custom_format():
    assert parser(CUSTOM)(CUSTOM_LINE) == LoggedRequest(WHEN + 9, b"/?token=tok1", "127.0.0.1", "ide", ("s1",))
    assert parser(r"%b\ %s\ %HQ")(b"ide s1 ?token=tok1") == LoggedRequest(None, b"/?token=tok1", "", "ide", ("s1",))
    assert parser("%s%HU 100%%")(b"s1/?token=tok1 100%") == LoggedRequest(None, b"/?token=tok1", "", None, ("s1",))


@pytest.mark.parametrize(
    ("flags", "served", "by_cookie"),
    [
        ("----", True, False),
        ("SC--", False, False),
        ("sQ--", False, False),
        ("--VN", True, True),
        ("--NI", True, False),
    ],
)
def test_termination_flags(flags, served, by_cookie):
    found = detector()(HTTPLOG.replace(b"----", flags.encode()))
    assert isinstance(found, LoggedRequest)
    assert (found.served, found.by_cookie) == (served, by_cookie)


def test_what_never_reached_a_server():
    line = b'127.0.0.1:1 [22/Nov/2026:13:22:22.296] f1 f1/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>"'
    found = detector()(line)
    assert isinstance(found, LoggedRequest)
    assert (found.servers, found.target) == ((), None)


def test_a_line_that_was_cut_off_is_unreadable():
    assert detector()(HTTPLOG[:-1]) is None
    found = detector()(HTTPLOG.replace(b" HTTP/1.1", b""))
    assert isinstance(found, LoggedRequest)
    assert found.target is None


@pytest.mark.parametrize(
    ("text", "up"),
    [
        (b"is going DOWN for maintenance. 3 active and 0 backup servers left.", False),
        (b"enters drain state. 2 active and 0 backup servers online.", False),
        (b'is DOWN, reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms.', False),
        (b"is UP/READY (leaving forced maintenance).", True),
        (b"is UP, reason: Layer4 check passed, check duration: 0ms. 1 active", True),
        (b"is UP (leaving forced drain).", True),
    ],
)
def test_changes_of_servers(text, up):
    parse = detector()
    assert parse(SYSLOG[1] + HTTPLOG)  # syslog does not name the year, requests do
    assert parse(SYSLOG[1] + b"Server ide/s2 " + text) == Change(WHEN - 1, "ide", "s2", up)
    assert parse(SYSLOG[4] + b"Backup Server ide/s2 " + text) == Change(WHEN - 1, "ide", "s2", up)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("%ci %r", "no %s"),
        ("%b/%s %ST", "none of %r, %HU, %HQ and %ci"),
        ("%s%b %r", "nothing in between"),
        ("%s %r %", "does not start a field"),
        ("%s %{+Q %r", "does not start a field"),
    ],
)
def test_formats_that_will_not_do(layout, message):
    with pytest.raises(Refused, match=message):
        parser(layout)


@given(target=st.binary(min_size=1), agent=st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=30))
def test_a_client_cannot_forge_a_line(target, agent):
    """Whatever is sent: as haproxy writes it, exactly that is read, and nothing of it is taken for another field."""
    target = b"/" + target.replace(b" ", b"+")
    line = (
        b'127.0.0.1:1 [22/Nov/2026:13:22:21.0] w ide/s1 0/0/0/0/0 200 1 - - ---- 1/1/0/0/0 0/0 {%b} "GET %b HTTP/1.1"'
    )
    found = detector()(line.replace(b".0]", b".000]") % (_encoded(agent.encode(), b'"#{|}'), _encoded(target, b'"#')))
    assert found == LoggedRequest(WHEN, target, "127.0.0.1", "ide", ("s1",))


def _encoded(text, special):
    return b"".join(b"#%02X" % c if c in special or not 32 <= c <= 126 else bytes([c]) for c in text)


PIECES = st.sampled_from(
    [HTTPLOG, TCPLOG, CLF, *SYSLOG, b"Server ide/s2 is DOWN", b'"', b" ", b"/", b"{", b"\xff", b"9"]
)


@given(st.lists(PIECES | st.binary(max_size=9), max_size=9).map(b"".join), st.integers(0, 400), st.integers(0, 400))
def test_no_line_makes_it_fail(line, start, length):
    for parse in (detector(), parser(CUSTOM)):
        parse(line)
        parse(line[start : start + length])


def test_no_line_makes_it_slow():
    parsers = [*map(parser, FORMATS), parser("%[a]-%[b]-%[c]-%[d]-%[e] %s %r")]
    for line in (b"-" * 60_000, b" " * 60_000, HTTPLOG[:40] + b"/" * 60_000, b"1:" * 30_000, b"a-" * 30_000):
        began = time.process_time()
        for parse in parsers:
            parse(line)
        assert time.process_time() - began < 0.5
