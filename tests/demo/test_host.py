"""A demo host as a browser, and as anyone else, meets it."""

import contextlib
import json
import re
import socket
import subprocess
import sys

import pytest
from hosts import HostProcess
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Frame, Opcode

from balancer.demo.host import MAX_TABS
from balancer.demo.users import token_of
from balancer.demo.websocket import MAX_MESSAGE, MAX_QUEUE

UPGRADE = (
    b"GET /ws?token=%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with HostProcess("ide-07", tmp_path_factory.mktemp("disk")) as host:
        yield host
    assert "Traceback" not in host.errors


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def test_a_line_comes_back(host):
    with host.open(token_of("alice")) as tab:
        assert (tab.hello["host"], tab.hello["user"]) == ("ide-07", "alice")
        assert tab.ask("hello") == "hello"
        assert "alice on ide-07" in tab.ask("whoami")
        assert "ide-07" in tab.ask("uptime")


def test_binary_fragments_and_pings_come_back(host):
    with host.open("binary") as tab:
        tab.next("home")
        tab.socket.send([b"ab", b"", b"cd"])
        assert tab.socket.recv(timeout=60) == b"abcd"
        assert tab.socket.ping().wait(timeout=60)
        tab.socket.send(["ab", "cd"])
        assert tab.next("answer")["text"] == "abcd"


def test_tabs_of_a_user_see_each_other(host):
    with host.open("two-tabs") as first:
        assert first.wait_for_tabs(1) == [1]
        with host.open("two-tabs") as second, host.open("someone-else") as other:
            assert first.wait_for_tabs(2) == second.wait_for_tabs(2) == [1, 2]
            assert other.wait_for_tabs(1) == [1]
            assert json.loads(host.get("/whoami?token=two-tabs")[2])["tabs"] == 2
        assert first.wait_for_tabs(1) == [1]
    assert json.loads(host.get("/whoami?token=never-here")[2])["tabs"] == 0


def test_files_belong_to_one_user(host):
    with host.open("writer") as writer, host.open("writer") as second, host.open("reader") as reader:
        writer.ask("write notes.txt the text")
        while second.next("home")["files"] != ["notes.txt"]:
            pass
        assert second.ask("cat notes.txt") == "the text"
        assert "no such file" in reader.ask("cat notes.txt")
        assert "no files here" in reader.ask("ls")


def test_files_outlive_the_process(tmp_path):
    with HostProcess("ide-08", tmp_path) as host, host.open("someone") as tab:
        tab.ask("write notes.txt still here")
    with HostProcess("ide-08", tmp_path, host.address) as again, again.open("someone") as tab:
        assert tab.ask("cat notes.txt") == "still here"
    assert not [path for path in tmp_path.rglob("*") if "someone" in str(path)], "a token became a file name"


def test_two_hosts_have_two_colours(tmp_path, host):
    with HostProcess("ide-08", tmp_path) as other, other.open("x") as there, host.open("x") as here:
        assert abs(there.hello["hue"] - here.hello["hue"]) > 60


def test_a_message_above_the_bound_ends_its_connection_only(host):
    with host.open("small") as small:
        for payload in ("x" * (MAX_MESSAGE + 1), b"x" * (MAX_MESSAGE + 1)):
            with host.open("large") as large:
                large.socket.send(payload)
                with pytest.raises(ConnectionClosedError, match="1009"):
                    large.next("nothing of the kind")
        assert small.ask("still there") == "still there"
        assert small.ask("y" * MAX_MESSAGE) == "y" * MAX_MESSAGE


def test_a_tab_that_does_not_read_is_dropped(host):
    with host.open("deaf") as hearing, socket.create_connection(host.address) as deaf:
        hearing.wait_for_tabs(1)
        deaf.sendall(UPGRADE % b"deaf")
        hearing.wait_for_tabs(2)
        frame = Frame(Opcode.BINARY, b"x" * MAX_MESSAGE).serialize(mask=True)
        with contextlib.suppress(ConnectionError):
            for _ in range(20 * MAX_QUEUE):  # more than the queue and the kernel's buffers hold
                deaf.sendall(frame)
        hearing.wait_for_tabs(1)


def test_reconnect_lets_all_tabs_of_a_user_go(host):
    with host.open("leaving") as first, host.open("leaving") as second, host.open("staying") as other:
        first.socket.send(" reconnect ")
        for tab in (first, second):
            with pytest.raises(ConnectionClosedError, match="1012"):
                tab.next("nothing more")
        assert other.ask("still here") == "still here"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"https://localhost", 101),
        (b"http://localhost", 101),
        (b"https://evil.example", 403),
        (b"https://localhost.evil.example", 403),
        (b"null", 403),
    ],
)
def test_other_sites_may_not_connect(host, origin, status):
    request = (UPGRADE % b"x").replace(b"Upgrade: websocket", b"Upgrade: websocket\r\nOrigin: " + origin)
    assert status_of(host.send(request)) == status


def test_tabs_of_a_user_are_bounded(host):
    with contextlib.ExitStack() as tabs:
        for _ in range(MAX_TABS):
            tab = tabs.enter_context(socket.create_connection(host.address))
            tab.sendall(UPGRADE % b"many")
            assert status_of(tab.recv(65536)) == 101
        assert status_of(host.send(UPGRADE % b"many")) == 429


def test_closing_is_answered(host):
    tab = host.open("closing")
    tab.socket.close(4000, "done")
    assert tab.socket.close_code == 4000


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xff\xff", 1002),  # reserved bits
        (b"\x81\x05hello", 1002),  # unmasked
        (b"\x81\x81\0\0\0\0\xff", 1007),  # not UTF-8
        (b"\x89\xfe\x01\x00", 1002),  # a ping of 256 bytes
    ],
)
def test_bad_frames_are_answered_with_a_close(host, frame, code):
    answer = host.send(UPGRADE % b"frames" + frame)
    assert status_of(answer) == 101
    assert re.search(rb"\x88.(..)", answer, re.DOTALL)[1] == code.to_bytes(2)


def test_whoami_shows_a_digest_and_never_the_token(host):
    token = token_of("bob")
    status, headers, body = host.get(f"/whoami?token={token}")
    assert status == 200
    assert json.loads(body).keys() == {"host", "user", "digest", "tabs"}
    assert json.loads(body)["user"] == "bob"
    assert json.loads(body)["digest"] not in token
    assert token not in body + str(headers)


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/health", "GET", 200),
        ("/health", "HEAD", 200),
        ("/?token=x", "HEAD", 200),
        ("/", "GET", 400),
        ("/whoami?token=", "GET", 400),
        ("/ws", "GET", 400),
        ("/ws?token=x", "GET", 426),
        ("/ws?token=x", "HEAD", 426),
        ("/page.css?token=x", "GET", 404),
        ("/%00", "GET", 404),
        ("/health", "POST", 405),
        ("/ws?token=x", "DELETE", 405),
    ],
)
def test_statuses(host, target, method, status):
    assert host.get(target, method)[0] == status


def test_a_connection_serves_many_requests_and_skips_their_bodies(host):
    plain = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with_body = b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert host.send(plain + with_body + plain + last).count(b"HTTP/1.1 200") == 4


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 100_000, 431),
        (b"GET /ws?token=x HTTP/1.0\r\nOrigin: http://x\r\n\r\n", 403),
        ((UPGRADE % b"x").replace(b"Version: 13", b"Version: 12"), 426),
        ((UPGRADE % b"x").replace(b"localhost", b"xn--\xff"), 426),
        ((UPGRADE % b"x").replace(b"localhost", b"xn--999999999"), 426),
    ],
)
def test_bad_requests_get_an_answer(host, request_bytes, status):
    assert status_of(host.send(request_bytes)) == status
    assert host.get("/health")[0] == 200


@settings(max_examples=60)
@given(st.sampled_from([b"", UPGRADE % b"fuzz", b"GET /ws?token=%ff&token=1 HTTP/1.1\r\nHost: x\r\n"]), st.binary())
@example(UPGRADE % b"fuzz", b"\x80\x80\0\0\0\0")
def test_no_client_ends_the_host(host, beginning, rest):
    host.send(beginning + rest)
    assert host.get("/health")[0] == 200


def test_a_bad_upgrade_is_an_http_answer(host):
    with pytest.raises(InvalidStatus):
        host.open("")


@pytest.mark.parametrize(
    ("address", "directory"),
    [("nowhere", "disk"), ("127.0.0.1:70000", "disk"), ("192.0.2.77:4001", "disk"), ("127.0.0.1:0", "/proc/none")],
)
def test_a_host_that_cannot_start_says_why(tmp_path, address, directory):
    command = [sys.executable, "-m", "balancer.demo.host", "ide-01", address, str(tmp_path / directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ide-01: cannot serve on {address}: ")
    assert done.stderr.count("\n") == 1
