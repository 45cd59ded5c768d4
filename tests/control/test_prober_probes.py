"""One probe: what it asks, how it judges the answer, and that no answer can hurt."""

import resource
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from probed import hosting, repeats, says, silent, slow, status
from websockets.sync.server import serve as serve_websockets
from websockets.utils import accept_key

from balancer.config.listener import ListenerConfig
from balancer.config.model import Config
from balancer.config.named_files import FileReader
from balancer.config.pool import BackendConfig, HealthConfig, PoolConfig
from balancer.config.scalars import Address
from balancer.health.results import Result
from balancer.probes.probe import Probe


def pool(address, backend=(), of=(), **keys):
    """A pool of one backend; ``backend`` and ``of`` are further keys of it and of the pool."""
    host = BackendConfig(**{"name": "host", "address": str(address), **dict(backend)})
    health = HealthConfig(**{"type": "http", "timeout": "20s", **keys})
    return PoolConfig(name="ide", health=health, backend=(host,), **dict(of))


async def probe(where, /, **keys):
    address = where if isinstance(where, Address) else where.address
    return await probe_of(pool(address, **keys)).run("host", address)


def probe_of(settings):
    """A probe with the TLS settings that control reads for this pool."""
    listener = ListenerConfig(name="ide", bind=("127.0.0.1:0",), pool="ide")
    config = Config(listener=(listener,), pool=(settings,))
    return Probe(settings, FileReader(config, 0.0).read().probe_tls.get("ide"))


@pytest.fixture
def clock():
    return trio.testing.MockClock()


ANSWERS = {
    "good": (status(200), {}, Result(True, "status 200")),
    "a redirect": (status(302), {}, Result(True, "status 302")),
    "an error": (status(503), {}, Result(False, "status 503")),
    "not the status": (status(200), {"expect_status": [204, "3xx"]}, Result(False, "status 200")),
    "just that status": (status(418), {"expect_status": ["418"]}, Result(True, "status 418")),
    "a whole class": (status(418), {"expect_status": ["4xx"]}, Result(True, "status 418")),
    "with the text": (status(200, body=b"all is well"), {"expect_body": "is w"}, Result(True, "status 200")),
    "without the text": (
        status(200, body=b"all is we"),
        {"expect_body": "is well"},
        Result(False, "status 200, but not the expected body"),
    ),
    "text in chunks": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n7\r\nis well\r\n0\r\n\r\n"),
        {"expect_body": "all is"},
        Result(True, "status 200"),
    ),
    "text until the end": (says(b"HTTP/1.0 200 OK\r\n\r\nfine"), {"expect_body": "fine"}, Result(True, "status 200")),
    "after interim answers": (
        says(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
        {},
        Result(True, "status 200"),
    ),
    "degraded": (status(200, "Balancer-Health: Degraded"), {}, Result(True, "status 200", "degraded")),
    "asks to be drained": (status(200, "balancer-health:drain"), {}, Result(True, "status 200", "drain")),
    "asks for both": (
        status(200, "Balancer-Health: drain", "Balancer-Health: degraded"),
        {},
        Result(True, "status 200", "drain"),
    ),
    "asks for half": (
        status(200, "Balancer-Health: Degraded; weight=50%"),
        {},
        Result(True, "status 200", percent=50),
    ),
    "asks for too much": (status(200, "Balancer-Health: degraded; weight=150%"), {}, Result(True, "status 200")),
    "a balancer": (status(200, "Balancer-Hash: md5"), {}, Result(True, "status 200", hash="md5")),
    "a balancer that lies": (status(200, "Balancer-Hash: md5\x1b[2J"), {}, Result(True, "status 200")),
    "asks for something else": (status(200, "Balancer-Health: tea"), {}, Result(True, "status 200")),
    "an ill host's wish": (status(500, "Balancer-Health: drain"), {}, Result(False, "status 500")),
    "404": (status(404), {}, Result(False, "status 404")),
    "404 as a wish": (status(404), {"drain_on_404": True}, Result(True, "status 404", "drain")),
    "nothing": (says(b""), {}, Result(False, "the connection ended without an answer")),
    "half a head": (says(b"HTTP/1.1 200 OK\r\n"), {}, Result(False, "the connection ended without an answer")),
    "half a body": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfin"),
        {"expect_body": "fine"},
        Result(False, "the answer is no HTTP/1.1"),
    ),
    "something else": (says(b"SSH-2.0-OpenSSH\r\n\r\n"), {}, Result(False, "the answer is no HTTP/1.1")),
    "an endless head": (
        repeats(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 99),
        {},
        Result(False, "the answer is no HTTP/1.1"),
    ),
    "an endless line": (repeats(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 999), {}, Result(False, "the answer is no HTTP/1.1")),
    "endless interim answers": (
        repeats(b"", b"HTTP/1.1 102 \r\n\r\n" * 99),
        {},
        Result(False, "the answer is too long"),
    ),
    "an endless body nobody asked for": (
        repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 999),
        {},
        Result(True, "status 200"),
    ),
    "an endless body": (
        repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 999),
        {"expect_body": "y"},
        Result(False, "status 200, but not the expected body"),
    ),
    "endless tiny chunks": (
        repeats(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 99),
        {"expect_body": "y"},
        Result(False, "the answer is too long"),
    ),
}


@pytest.mark.parametrize(("talk", "keys", "result"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_over_http_is_judged(talk, keys, result):
    async with hosting(talk) as host:
        assert await probe(host, **keys) == result


async def test_what_is_asked(tmp_path):
    async with hosting(status(200)) as host:
        await probe(host)
        await probe(host, method="OPTIONS", path="/a?b", host="ide.example")
    async with hosting(status(200), tmp_path / "s") as local:
        assert (await probe(local)).ok
    rest = "User-Agent: balancer-health\r\nConnection: close\r\n\r\n"
    assert [request.decode() for request in host.requests + local.requests] == [
        f"GET /health HTTP/1.1\r\nHost: {host.address}\r\n{rest}",
        f"OPTIONS /a?b HTTP/1.1\r\nHost: ide.example\r\n{rest}",
        f"GET /health HTTP/1.1\r\nHost: localhost\r\n{rest}",
    ]


async def test_head_and_its_answer_without_a_body():
    async with hosting(says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")) as host:
        assert await probe(host, method="HEAD") == Result(True, "status 200")


@pytest.mark.parametrize("kind", ["http", "tcp", "tls", "websocket"])
async def test_nobody_is_there(kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address(*free.getsockname())
        assert await probe(address, type=kind) == Result(False, "connection refused")


@pytest.mark.parametrize("kind", ["http", "tls", "websocket"])
@pytest.mark.parametrize("talk", [silent, slow])
async def test_whoever_takes_too_long_has_failed(clock, kind, talk):
    async with hosting(talk) as host, trio.open_nursery() as nursery:
        results = []

        async def run():
            results.append(await probe(host, type=kind, timeout="3s"))

        nursery.start_soon(run)
        await host.visited(1)
        for _ in range(4):
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(1)
    if talk is silent:
        assert results == [Result(False, "answer timed out")]
    else:
        assert not results[0].ok


async def test_a_connect_that_takes_too_long():
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        result = await probe(Address(*full.getsockname()), type="tcp", timeout="100ms")
        assert result == Result(False, "connect timed out")


async def test_a_unix_socket_whose_backlog_is_full(tmp_path):
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as full, ExitStack() as stack:
        full.bind(path)
        full.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        result = await probe(Address(path=path), type="tcp")
        assert result == Result(False, "resource temporarily unavailable")


async def test_tcp_asks_for_nothing():
    async with hosting(silent) as host:
        assert await probe(host, type="tcp") == Result(True, "connected")
        await host.visited(1)


@contextmanager
def few_descriptors():
    """No further file may be opened inside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_our_own_want_of_descriptors_is_nobodys_fault():
    async with hosting(status(200)) as host:
        with few_descriptors():
            assert await probe(host) is None
        assert (await probe(host)).ok


class TestTls:
    @pytest.fixture
    def talk(self, authority):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("ide.example").values())

        async def talk(host, stream):
            await trio.SSLStream(stream, context, server_side=True).do_handshake()

        return talk

    async def result(self, talk, **tls):
        async with hosting(talk) as host:
            return await probe(host, type="tls", tls=tls)

    async def test_a_good_certificate(self, talk, authority):
        trusted = {"ca_file": authority.file}
        assert await self.result(talk, server_name="ide.example", **trusted) == Result(True, "TLS handshake")

    async def test_another_name(self, talk, authority):
        result = await self.result(talk, server_name="ide-2.example", ca_file=authority.file)
        assert not result.ok
        assert result.text.startswith("certificate: Hostname mismatch")
        result = await self.result(talk, ca_file=authority.file)
        assert not result.ok
        assert result.text.startswith("certificate: IP address mismatch")

    async def test_an_unknown_authority(self, talk):
        result = await self.result(talk, server_name="ide.example")
        assert result == Result(False, "certificate: unable to get local issuer certificate")

    async def test_without_verification_any_handshake_will_do(self, talk):
        assert await self.result(talk, verify=False) == Result(True, "TLS handshake")

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
    async def test_no_handshake(self, answer):
        async def talk(host, stream):
            await stream.receive_some()
            await stream.send_all(answer)

        result = await self.result(talk, verify=False)
        assert not result.ok
        assert len(result.text) < 60


LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


async def upgraded_and_well(host, stream):
    await upgrade(stream)
    ping = b""
    while len(ping) < len(PING):
        ping += await stream.receive_some()
    await stream.send_all(b"\x8a\x08" + unmasked(ping)[1])


class TestTheWayOfTheTraffic:
    @pytest.fixture
    def tls(self, authority):
        return {"enabled": True, "ca_file": authority.file, "server_name": "ide.example"}

    @pytest.fixture
    def over_tls(self, authority):
        """Wraps what a host says: behind ``hello``, over TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("ide.example").values())

        def wrap(talk, hello=b""):
            async def secured(host, stream):
                for byte in hello:
                    assert await stream.receive_some(1) == bytes([byte])
                await talk(host, trio.SSLStream(stream, context, server_side=True, https_compatible=True))

            return secured

        return wrap

    @pytest.mark.parametrize(("version", "hello"), [("off", b""), ("v1", b"PROXY UNKNOWN\r\n"), ("v2", LOCAL)])
    async def test_over_tls_and_introduced(self, over_tls, tls, version, hello):
        of = {"tls": tls, "send_proxy": version}
        async with hosting(over_tls(status(200, body=b"well"), hello)) as host:
            assert await probe(host, expect_body="well", of=of) == Result(True, "status 200")
            assert await probe(host, type="tls", of=of) == Result(True, "TLS handshake")
            assert await probe(host, type="tcp", of=of) == Result(True, "connected")
        async with hosting(over_tls(upgraded_and_well, hello)) as host:
            assert await probe(host, type="websocket", of=of) == Result(True, "pong")

    async def test_introduced_in_clear(self):
        async with hosting(status(200)) as host:
            assert (await probe(host, of={"send_proxy": "v1"})).ok
        assert host.requests[0].startswith(b"PROXY UNKNOWN\r\nGET /health HTTP/1.1\r\n")

    async def test_a_name_of_its_own(self, over_tls, tls):
        of = {"tls": {**tls, "server_name": "another.example"}}
        async with hosting(over_tls(status(200))) as host:
            assert (await probe(host, of=of, backend={"server_name": "ide.example"})).ok
            refused = await probe(host, of=of)
        assert refused.text.startswith("certificate: Hostname mismatch")

    async def test_the_settings_of_probes_of_type_tls_come_first(self, over_tls, tls, authority):
        of = {"tls": {**tls, "server_name": "another.example"}}
        own = {"ca_file": authority.file, "server_name": "ide.example"}
        async with hosting(over_tls(status(200))) as host:
            assert (await probe(host, type="tls", tls=own, of=of)).ok
            assert not (await probe(host, type="tls", of=of)).ok

    async def test_somewhere_else_neither_tls_nor_an_introduction_is_expected(self, tls):
        async with hosting(status(200)) as host:
            elsewhere = {"check_address": str(host.address)}
            settings = pool("192.0.2.1:1", elsewhere, {"tls": tls, "send_proxy": "v2"})
            assert (await probe_of(settings).run("host", Address("192.0.2.1", 1))).ok
        assert host.requests[0].startswith(b"GET /health")

    @pytest.mark.parametrize("answer", [b"", b"\x17\x03\x03\x00\x05hello", b"HTTP/1.1 200 OK\r\n\r\n"])
    async def test_a_host_that_breaks_tls_has_failed(self, authority, tls, answer):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("ide.example").values())

        async def talk(host, stream):
            await trio.SSLStream(stream, context, server_side=True).do_handshake()
            await stream.send_all(answer)  # past TLS

        async with hosting(talk) as host:
            result = await probe(host, of={"tls": tls})
        assert not result.ok
        assert len(result.text) < 60


class TestWebSocket:
    async def test_a_real_server_sees_a_real_client(self):
        codes, ended = [], threading.Event()

        def handler(connection):
            for _ in connection:
                pass
            codes.append(connection.protocol.close_code)
            ended.set()

        with serve_websockets(handler, "127.0.0.1", 0) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                address = Address(*server.socket.getsockname())
                assert await probe(address, type="websocket") == Result(True, "pong")
                assert await trio.to_thread.run_sync(ended.wait, 10)
            finally:
                server.shutdown()
                thread.join()
        assert codes == [1000]

    @pytest.mark.parametrize(
        ("talk", "keys", "result"),
        [
            (status(200), {}, Result(False, "status 200 instead of an upgrade")),
            (status(404), {}, Result(False, "status 404 instead of an upgrade")),
            (status(404), {"drain_on_404": True}, Result(True, "status 404", "drain")),
            (says(b""), {}, Result(False, "the connection ended without a pong")),
            (says(b"SSH-2.0\r\n\r\n"), {}, Result(False, "the answer is no WebSocket")),
            (
                says(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"),
                {},
                Result(False, "the answer is no WebSocket"),
            ),
            (repeats(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 999), {}, Result(False, "the answer is no WebSocket")),
        ],
    )
    async def test_no_upgrade(self, talk, keys, result):
        async with hosting(talk) as host:
            assert await probe(host, type="websocket", **keys) == result

    @pytest.mark.parametrize(
        ("frames", "endless", "result"),
        [
            (b"\x88\x02\x03\xe8", False, Result(False, "closed instead of a pong")),
            (b"\x8a\x01x", False, Result(False, "the connection ended without a pong")),
            (b"\xff\xff", False, Result(False, "the connection ended without a pong")),
            (b"\x89\x7e\x00\x80" + b"x" * 128, False, Result(False, "the answer is no WebSocket")),  # a long ping
            (b"\x82\x7f\x00\x00\x00\xff\xff\xff\xff\xff" + b"x" * 999, True, Result(False, "the answer is too long")),
            (b"\x81\x02hi" * 500, True, Result(False, "the answer is too long")),
        ],
    )
    async def test_an_upgrade_and_then_something_odd(self, frames, endless, result):
        async with hosting(upgraded(frames, endless)) as host:
            assert await probe(host, type="websocket") == result

    async def test_pings_of_the_host_are_answered_and_its_wish_is_heard(self):
        heard = []

        async def talk(host, stream):
            await upgrade(stream, "Balancer-Health: degraded")
            await stream.send_all(b"\x81\x05hello\x89\x03one")
            sent = b""
            while len(sent) < len(PING) + len(PONG):
                sent += await stream.receive_some()
            heard.extend([unmasked(sent[: len(PING)]), unmasked(sent[len(PING) :])])
            [ping] = [data for opcode, data in heard if opcode == 0x89]
            await stream.send_all(b"\x8a\x08" + ping)

        async with hosting(talk) as host:
            assert await probe(host, type="websocket") == Result(True, "pong", "degraded")
        assert (heard[0][0], heard[1]) == (0x89, (0x8A, b"one"))


PING = b"\x89\x88" + bytes(4 + 8)
PONG = b"\x8a\x83" + bytes(4 + 3)


def upgraded(frames, endless):
    async def talk(host, stream):
        await upgrade(stream)
        await stream.send_all(frames)
        while endless:
            await stream.send_all(frames)
        await stream.receive_some()

    return talk


async def upgrade(stream, *fields):
    request = b""
    while b"\r\n\r\n" not in request:
        request += await stream.receive_some()
    [key] = [line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")]
    accept = accept_key(key.decode())
    lines = ["HTTP/1.1 101 X", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}", *fields]
    await stream.send_all("\r\n".join([*lines, "", ""]).encode())


def unmasked(frame):
    """First byte and payload of a client's short frame."""
    mask, data = frame[2:6], frame[6 : 6 + (frame[1] & 0x7F)]
    return frame[0], bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.builds(
        bytes.__add__,
        st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Length: "]),
        st.binary(max_size=300),
    ),
    st.lists(
        st.sampled_from(
            [b"HTTP/1.1 200 \r\n", b"\r\n", b"A: b\r\n", b"Transfer-Encoding: chunked\r\n", b"1\r\n", b"\0"]
        )
    ).map(b"".join),
)


@settings(max_examples=150)
@given(HOSTILE, st.sampled_from(["http", "websocket", "tls"]))
def test_no_answer_hurts_or_gets_into_the_log(tmp_path_factory, answer, kind):
    async def main():
        path = tmp_path_factory.getbasetemp() / "hostile.sock"
        path.unlink(missing_ok=True)

        async def talk(host, stream):
            await stream.receive_some()
            await stream.send_all(answer)

        async with hosting(talk, path) as host:
            return await probe(host, type=kind, expect_body="MARK", tls={"verify": False})

    result = trio.run(main)
    assert not result.ok or b"MARK" in answer
    assert result.text.isascii()
    assert result.text.isprintable()
    assert len(result.text) < 100
