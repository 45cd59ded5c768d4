"""Lines of the access log: every field of them, and what becomes of them when nobody can take them."""

import fcntl
import json
import os
from datetime import datetime

import pytest
from harness import SECRET, Daemon, listener, pool
from wire import answer, get

TOKEN = SECRET + "of-anna"


@pytest.fixture(scope="module")
def daemon(start, home, authority):
    tls = {"certificates": [authority.issue("ide.example")]}
    return start(listeners=[listener(), listener("safe", tls=tls)], pool=[pool(home)])


def serve(daemon, backend, path="/", count=1):
    with daemon.connect() as client:
        for _ in range(count):
            client.send(get(f"{path}?a=b&token={TOKEN}"))
            peer = backend.peer()
            peer.request()
            peer.send(answer(b"hello"))
            assert client.response().body == b"hello"


def test_every_field(daemon, backend, authority):
    with daemon.connect("safe", authority.client(), "ide.example") as client:
        request = get(f"/path%20?token={TOKEN}", "Content-Length: 3", f"Referer: /{TOKEN}", method="PUT", body=b"abc")
        client.send(request)
        peer = backend.accept()
        arrived = peer.request()
        peer.send(answer(b"hello", status="201 Created"))
        client.response()
    entry = daemon.logged(method="PUT")
    assert abs(datetime.fromisoformat(entry.pop("time")).timestamp() - datetime.now().timestamp()) < 5
    times = {name: entry.pop(name) for name in list(entry) if name.endswith("_ms")}
    assert set(times) == {"tls_ms", "head_ms", "queue_ms", "connect_ms", "first_byte_ms", "total_ms"}
    assert all(0 <= each < 5000 for each in times.values())
    assert times["tls_ms"] > 0
    digest = entry.pop("token")
    assert len(digest) == 16
    assert int(digest, 16)
    assert entry == {
        "event": "request",
        "client": "127.0.0.1",
        "listener": "safe",
        "pool": "ide",
        "backend": "host-0",
        "why": "owner",
        "tries": 1,
        "skipped": {},
        "method": "PUT",
        "path": "/path%20",
        "status": 201,
        "bytes_in": len(arrived.raw) + 3,
        "bytes_out": len(answer(b"hello", status="201 Created")),
        "tls": "TLSv1.3",
        "request_id": arrived["x-request-id"],
        "token_from": "query",
        "ended": "ok",
        "by": "",
    }


def test_one_digest_per_token_and_process(daemon, backend, tmp_path):
    for path in "/one", "/two":
        serve(daemon, backend, path)
    digest = daemon.logged(path="/one")["token"]
    assert daemon.logged(path="/two")["token"] == digest
    with Daemon(tmp_path, pool=[pool(backend)]) as other:
        backend.forget()
        serve(other, backend, "/three")
        assert other.logged(path="/three")["token"] != digest


def test_what_clients_send_cannot_forge_lines(daemon, backend):
    with daemon.connect() as client:
        client.send(get('/"},{"event":"forged?token=secret-1', method="G'E'T|"))
        peer = backend.accept()
        peer.request()
        peer.send(answer())
        client.response()
    assert daemon.logged(path='/"},{"event":"forged')["method"] == "G'E'T|"
    with daemon.connect() as client:
        client.send(b"GET /\x1b[31m?token=secret-1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 400
    assert daemon.logged(status=400)["path"] == ""


def test_a_file_is_appended_to_and_written_to_the_end(tmp_path, backend):
    file = tmp_path / "access.log"
    file.write_text("before\n")
    with Daemon(tmp_path, pool=[pool(backend)], log={"access": str(file)}) as daemon:
        serve(daemon, backend, count=20)
    before, *lines = file.read_text().splitlines()
    assert before == "before"
    assert [json.loads(line)["status"] for line in lines] == [200] * 20
    assert SECRET not in file.read_text()


def test_off(tmp_path, backend):
    with Daemon(tmp_path, pool=[pool(backend)], log={"access": "off"}) as daemon:
        serve(daemon, backend)
    assert daemon.stdout.lines == []


def test_a_full_disk(tmp_path, backend):
    with Daemon(tmp_path, pool=[pool(backend)], log={"access": "/dev/full"}) as daemon:
        for _ in range(3):
            serve(daemon, backend, count=5)


def test_a_reader_that_has_gone(tmp_path, backend):
    reading, writing = os.pipe()
    with Daemon(tmp_path, pool=[pool(backend)], stdout=writing) as daemon:
        os.close(writing)
        serve(daemon, backend)
        assert TOKEN.encode() not in os.read(reading, 65536)
        os.close(reading)
        for _ in range(3):
            serve(daemon, backend, count=5)


def test_a_reader_that_does_not_read(tmp_path, backend):
    """The pipe is full from the start: the daemon serves on, and ends all the same."""
    reading, writing = os.pipe()
    os.write(writing, bytes(fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)))
    with Daemon(tmp_path, pool=[pool(backend)], stdout=writing) as daemon:
        os.close(writing)
        for _ in range(3):
            serve(daemon, backend, count=5)
        daemon.stop()
    os.close(reading)


def test_a_file_that_cannot_be_opened_is_said_at_the_start(tmp_path, backend):
    daemon = Daemon(tmp_path, pool=[pool(backend)], log={"access": str(tmp_path / "missing" / "access.log")})
    assert daemon.ended() == 1
    daemon.stderr.join()
    daemon.stdout.join()
    assert "missing/access.log" in str(daemon.stderr)
    assert "Traceback" not in str(daemon.stderr)
