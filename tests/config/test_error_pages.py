"""Files of error pages: whole responses as haproxy has them, bodies, and what cannot be used."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.error_pages import parse_page, read_pages
from balancer.config.settings import ErrorPage
from balancer.proxy.replies import reply

HAPROXY = b"""HTTP/1.0 503 Service Unavailable\r
Cache-Control: no-cache\r
Connection: close\r
Content-Type: text/html\r
Content-Length: 3\r
\r
<html>
"""


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_whole_response(end):
    page = parse_page(Path("503.http"), HAPROXY.replace(b"\r\n", end), 500)
    assert page == ErrorPage(503, b"Cache-Control: no-cache\r\nContent-Type: text/html\r\n", b"<html>\n")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.html", "text/html; charset=utf-8"), ("a.JSON", "application/json"), ("a", "text/plain; charset=utf-8")],
)
def test_a_body(name, kind):
    page = parse_page(Path(name), b"gone", 502)
    assert page == ErrorPage(502, f"Content-Type: {kind}\r\nCache-Control: no-store\r\n".encode(), b"gone")


@pytest.mark.parametrize("data", [b"HTTP/1.1 503 x", b"HTTP/1.1 103 x\r\n\r\n", b"HTTP/1.1 200 x\r\nno colon\r\n\r\n"])
def test_malformed_responses(data):
    with pytest.raises(ValueError, match=r"e\.http"):
        parse_page(Path("e.http"), data, 503)


def test_files_that_cannot_be_used_are_warned_of(tmp_path):
    (tmp_path / "good").write_bytes(b"x" * 65536)
    (tmp_path / "long").write_bytes(b"x" * 65537)
    findings = []
    files = {"500": tmp_path / "good", "502": tmp_path / "long", "503": tmp_path / "none"}
    assert list(read_pages(("listener", 0, "error_pages"), files, findings)) == [500]
    assert [(each.key[-1], each.warning) for each in findings] == [("502", True), ("503", True)]
    assert "is longer than 64 KiB" in findings[0].message
    assert "cannot be read" in findings[1].message


@given(st.one_of(st.binary(), st.binary().map(lambda data: b"HTTP/1.0 503 x\r\n" + data + b"\r\n\r\n")))
def test_whatever_is_in_a_file_the_reply_is_one_response(data):
    try:
        page = parse_page(Path("page"), data, 503)
    except ValueError:
        return
    head, _, body = reply(503, "reason", {503: page}).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 503 ")
    assert [line for line in lines if line.lower().startswith(b"content-length:")] == [
        b"Content-Length: %d" % len(body)
    ]
    assert not any(line.lower().startswith((b"transfer-encoding:", b" ", b"\t")) or b"\n" in line for line in lines)
    assert body == page.body
