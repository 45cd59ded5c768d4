"""Error pages: files in place of the daemon's own short texts, whatever the error is of."""

import socket

import pytest
from harness import listener, pool
from wire import get

NAMES = ["ide"]
WHOLE = b"HTTP/1.0 200 Fine\r\nContent-Type: text/x-odd\r\nX-Page: yes\r\nContent-Length: 99\r\n\r\nclosed\n"


@pytest.fixture(scope="module")
def daemon(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    (folder / "403.html").write_text("<p>no</p>\n")
    (folder / "503.http").write_bytes(WHOLE)
    pages = {"400": "403.html", "403": "403.html", "503": "503.http", "404": "none"}
    listeners = [
        listener(
            "web",
            rule=[{"path": ["/admin"], "deny": 403}, {"path": ["/none"], "deny": 404}],
            error_pages={status: str(folder / name) for status, name in pages.items()},
            response_fields={"set": {"X-Frame-Options": "DENY"}},
        )
    ]
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    gone = {"name": "a", "address": address}
    return start(listeners=listeners, pool=[{**pool(), "backend": [gone], "retry": {"count": 0}}])


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_denied_request(daemon, method):
    with daemon.connect() as client:
        client.send(get("/admin").replace(b"GET", method))
        response = client.response(method.decode())
        assert response.status == 403
        assert response["content-type"] == "text/html; charset=utf-8"
        assert response["content-length"] == "10"
        assert response["x-frame-options"] == "DENY"
        assert response.body == (b"" if method == b"HEAD" else b"<p>no</p>\n")


def test_a_whole_response_for_hosts_that_do_not_answer(daemon):
    with daemon.connect() as client:
        client.send(get("/?token=secret-1"))
        response = client.response()
    assert (response.status, response.body) == (200, b"closed\n")
    assert (response["content-type"], response["x-page"], response["content-length"]) == ("text/x-odd", "yes", "7")
    assert daemon.logged(path="/", why="owner")["status"] == 503


def test_a_request_that_cannot_be_read(daemon):
    with daemon.connect() as client:
        client.send(b"nonsense\r\n\r\n")
        response = client.response()
    assert (response.status, response.body) == (400, b"<p>no</p>\n")


def test_a_file_that_is_missing_is_warned_of(daemon):
    with daemon.connect() as client:
        client.send(get("/none"))
        assert client.response().body.startswith(b"404 Not Found: ")
    daemon.stderr.wait_for(lambda line: "clients get the daemon's own text" in line)
