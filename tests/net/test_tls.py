"""TLS against Python's own client, against records Python cannot make, and against openssl s_client."""

import shutil
import socket
import ssl
import subprocess
from contextlib import suppress
from itertools import pairwise

import pytest
import trio
from net_rig import Job, drain, passes, running, settle, tcp_pair
from tls_client import Records, TlsClient, client_secret

from balancer.config.model import Tls
from balancer.errors import ProxyError, Source
from balancer.net.contexts import server_context
from balancer.net.engine import Closed, TimedOut
from balancer.net.tls import TlsTransport
from balancer.net.transport import TURN_BYTES, PlainTransport

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])


@pytest.fixture(scope="session")
def context(certificate):
    return server_context(Tls(certificates=(certificate,)))


@pytest.fixture
def client_context(certificate):
    def make(version):
        context = ssl.create_default_context(cafile=str(certificate.cert))
        context.minimum_version = context.maximum_version = version
        return context

    return make


def unix_pair():
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


class Line:
    """A TLS transport in an engine, with the client at its other end."""

    def __init__(self, engine, context, client_context, sockets=tcp_pair, **client_options):
        ours, theirs = sockets()
        self.engine = engine
        self.context = context
        self.plain = PlainTransport(engine, ours, Source.CLIENT, None)
        self.client = TlsClient(theirs, client_context, **client_options)
        self.tls = None

    def accept(self, early=b"", expires=None):
        async def work(task):
            self.tls = TlsTransport(self.plain, self.context, early)
            self.tls.task = task
            if expires is not None:
                task.expires = expires
            try:
                await self.tls.handshake()
            except BaseException:
                self.tls.close()
                raise

        return Job(self.engine, work)

    async def establish(self):
        job = self.accept()
        await self.client.handshake()
        await job.outcome()
        return self

    def ours(self, work):
        """``work(transport)`` in the engine."""

        async def run(task):
            self.tls.task = task
            return await work(self.tls)

        return Job(self.engine, run)

    def everything(self):
        async def work(tls):
            data = bytearray()
            while piece := await tls.recv():
                data += piece
            return bytes(data)

        return self.ours(work)

    def close(self):
        self.tls.close()
        self.client.sock.close()


@BOTH
async def test_bytes_both_ways(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        assert line.tls.version == {V12: "TLSv1.2", V13: "TLSv1.3"}[version]
        assert line.tls.server_name == "ide.example"
        assert not line.tls.resumed
        await line.client.send(b"hello")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"hello"
        await line.ours(lambda tls: tls.send(b"world")).outcome()
        assert await line.client.recv() == b"world"
        line.close()


@BOTH
@pytest.mark.parametrize("size", [1, 7, 16384, 16385, 3_000_000])
async def test_records_of_every_size_both_ways_at_once(context, client_context, version, size):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        count = 2 if size > 100_000 else 200 if size < 100 else 20
        data = (bytes(range(251)) * (size // 251 + 1))[:size]

        async def echo(tls):
            total = b""
            while piece := await tls.recv():
                await tls.send(piece)
                total += piece
            tls.send_eof()
            return total

        async def write():
            for _ in range(count):
                await line.client.send(data)
            await line.client.send_eof()

        job = line.ours(echo)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await line.client.rest() == data * count
        assert await job.outcome() == data * count
        line.close()


# Handshakes


@BOTH
async def test_a_handshake_in_single_bytes(context, client_context, version):
    async with running() as engine:
        line = Line(engine, context, client_context(version), piece=1)
        await line.establish()
        line.close()


@BOTH
@pytest.mark.parametrize("count", [1, 5, 100, 10_000])
async def test_bytes_read_before_the_handshake_are_fed_in(context, client_context, version, count):
    """As after a PROXY header: the beginning of the ClientHello, or all of it, was read with the header."""
    async with running() as engine:
        line = Line(engine, context, client_context(version))
        with pytest.raises(ssl.SSLWantReadError):
            line.client.tls.do_handshake()
        hello = line.client.outgoing.read()
        job = line.accept(early=hello[:count])
        await settle()
        line.client.sock.send(hello[count:])
        await line.client.handshake()
        await job.outcome()
        await line.client.send(b"x")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"x"
        line.close()


async def test_data_that_comes_with_the_end_of_the_handshake(context, client_context):
    async with running() as engine:
        line = Line(engine, context, client_context(V13))
        job = line.accept()
        with suppress(ssl.SSLWantReadError):
            line.client.tls.do_handshake()
        line.client.sock.send(line.client.outgoing.read())
        await settle()
        line.client.incoming.write(drain(line.client.sock))
        line.client.tls.do_handshake()
        line.client.tls.write(b"in one packet with Finished")
        line.client.sock.send(line.client.outgoing.read())
        await job.outcome()
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"in one packet with Finished"
        line.close()


@pytest.mark.parametrize(
    ("garbage", "reason", "alert"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "TLS failed: http request", False),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "TLS failed: length ", True),
        (b"\x16\x03\x01\xff\xff" + bytes(64), "TLS failed: ", True),
        (bytes(64), "TLS failed: wrong version number", False),
    ],
    ids=["http", "short hello", "huge record", "zeros"],
)
async def test_garbage_ends_the_handshake_with_an_alert_if_it_looks_like_tls(
    context, client_context, garbage, reason, alert
):
    async with running() as engine:
        line = Line(engine, context, client_context(V13))
        job = line.accept()
        line.client.sock.send(garbage)
        with pytest.raises(ProxyError) as caught:
            await job.outcome()
        assert caught.value.source is Source.CLIENT
        assert caught.value.status == 400
        assert caught.value.reason.startswith(reason)
        answer = drain(line.client.sock)
        assert (len(answer) == 7 and answer.startswith(b"\x15\x03")) if alert else answer == b""
        line.client.sock.close()


async def test_a_version_we_do_not_speak_is_answered_with_an_alert(certificate, client_context):
    async with running() as engine:
        line = Line(engine, server_context(Tls(certificates=(certificate,), min_version="1.3")), client_context(V12))
        job = line.accept()
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await line.client.handshake()
        with pytest.raises(ProxyError, match="TLS failed: unsupported protocol"):
            await job.outcome()
        line.client.sock.close()


@BOTH
async def test_a_client_that_leaves_in_the_handshake(context, client_context, version):
    async with running() as engine:
        line = Line(engine, context, client_context(version))
        job = line.accept()
        with pytest.raises(ssl.SSLWantReadError):
            line.client.tls.do_handshake()
        line.client.sock.send(line.client.outgoing.read())
        await settle()
        line.client.sock.close()
        with pytest.raises(ProxyError) as caught:
            await job.outcome()
        assert caught.value.source is Source.CLIENT


async def test_a_handshake_can_time_out_and_be_closed(context, client_context, clock):
    async with running() as engine:
        late, closed = (Line(engine, context, client_context(V13)) for _ in range(2))
        jobs = late.accept(expires=trio.current_time() + 10), closed.accept()
        await passes(clock, 10.2)
        engine.throw(jobs[1].task, Closed())
        for job, error in zip(jobs, (TimedOut, Closed), strict=True):
            with pytest.raises(error):
                await job.outcome()
        for line in (late, closed):
            drain(line.client.sock)
            assert line.client.sock.recv(1) == b""
            line.client.sock.close()


async def test_tickets_leave_with_the_first_data_and_not_before(context, client_context):
    async with running() as engine:
        line = await Line(engine, context, client_context(V13)).establish()
        await settle()
        with pytest.raises(BlockingIOError):
            line.client.sock.recv(1)
        await line.ours(lambda tls: tls.send(b"data")).outcome()
        assert len(drain(line.client.sock)) > 200  # two tickets and a record
        line.close()


@BOTH
async def test_a_ticket_resumes_the_session(context, client_context, version):
    async with running() as engine:
        same = client_context(version)
        line = await Line(engine, context, same).establish()
        await line.ours(lambda tls: tls.send(b"x")).outcome()
        assert await line.client.recv() == b"x"
        ticket = line.client.tls.session
        line.close()
        line = await Line(engine, context, same, session=ticket).establish()
        assert line.tls.resumed
        assert line.client.tls.session_reused
        await line.client.send(b"x")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"x"
        line.close()


# Ends


@BOTH
@pytest.mark.parametrize("waiting", [0, 1, 16384, 100_000])
async def test_our_close_notify_loses_nothing_that_is_still_coming(context, client_context, version, waiting):
    """``waiting`` bytes have arrived, or are on their way, when SSL_shutdown looks for the peer's answer."""
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        await line.client.send(b"first")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"first"
        if waiting:
            await line.client.send(bytes(waiting))
            await settle()
            begun = await line.ours(lambda tls: tls.recv()).outcome()  # what comes after it waits inside
        else:
            begun = b""
        line.tls.send_eof()
        assert await line.client.recv() == b""
        job = line.everything()
        for _ in range(5):
            await line.client.send(bytes(30_000))
        await line.client.send_eof()
        assert len(begun + await job.outcome()) == waiting + 150_000
        line.close()


@BOTH
async def test_the_peers_close_notify_ends_one_direction_only(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        await line.client.send(b"question")
        await line.client.send_eof()
        assert await line.everything().outcome() == b"question"
        await line.ours(lambda tls: tls.send(bytes(1_000))).outcome()
        line.tls.send_eof()
        assert await line.client.rest() == bytes(1_000)
        assert line.client.sock.recv(1) == b""
        line.close()


@BOTH
async def test_a_peer_that_ends_without_close_notify_can_still_be_answered(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        await line.client.send(b"question")
        line.client.sock.shutdown(socket.SHUT_WR)
        assert await line.everything().outcome() == b"question"
        assert await line.everything().outcome() == b""  # the end stays the end
        await line.ours(lambda tls: tls.send(b"answer")).outcome()
        line.tls.send_eof()
        assert await line.client.rest() == b"answer"
        line.close()


@BOTH
async def test_closing_says_so_and_may_be_repeated(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        line.tls.close()
        line.tls.close()
        assert await line.client.recv() == b""  # close_notify: no SSLEOFError
        line.close()


@BOTH
async def test_an_abort_does_not_pass_for_an_end(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        line.tls.abort()
        line.tls.abort()
        with pytest.raises(ConnectionResetError):
            await line.client.recv()
        line.close()


async def test_close_notify_waits_for_room_in_a_full_socket(context, client_context):
    """A Unix socket takes a certain number of records; the one after the last that fits is the close_notify."""
    async with running() as engine:
        line = await Line(engine, context, client_context(V12), unix_pair).establish()
        fits = 0
        while line.tls.transmit(b"x"):
            fits += 1
        line.tls.abort()
        line.close()
        line = await Line(engine, context, client_context(V12), unix_pair).establish()
        for _ in range(fits):
            assert line.tls.transmit(b"x")
        line.tls.send_eof()
        job = line.ours(lambda tls: tls.flushed())
        await settle()
        assert not job.ended.is_set()
        assert await line.client.rest() == b"x" * fits  # and then close_notify, no SSLEOFError
        await job.outcome()
        assert line.client.sock.recv(1) == b""
        line.close()


@BOTH
async def test_a_forged_record_is_an_error_of_the_client_and_answered_with_an_alert(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        line.client.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ProxyError, match="TLS failed: decryption failed or bad record mac") as caught:
            await line.ours(lambda tls: tls.recv()).outcome()
        assert caught.value.source is Source.CLIENT
        line.tls.close()
        with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
            await line.client.recv()
        line.close()


# What only other clients do


async def take_over(line, keylog):
    """The client's writing is ours from here on; its reading stays Python's."""
    await line.establish()
    return Records(client_secret(keylog))


@pytest.mark.parametrize("requested", [False, True])
async def test_key_updates(context, client_context, tmp_path, requested):
    async with running() as engine:
        theirs = client_context(V13)
        theirs.keylog_filename = str(tmp_path / "keys")
        line = Line(engine, context, theirs)
        records = await take_over(line, tmp_path / "keys")
        stream = b""
        for number in range(5):
            stream += records.data(b"%d" % number) + records.key_update(requested)
        line.client.sock.send(stream + records.data(b"end"))
        data = b""
        while not data.endswith(b"end"):
            data += await line.ours(lambda tls: tls.recv()).outcome()
            await line.ours(lambda tls: tls.send(b".")).outcome()
        assert data == b"01234end"
        answer = b""
        while len(answer) < 6:
            answer += await line.client.recv()  # under the keys we have moved to, if asked to
        assert answer == b"......"
        line.close()


async def test_a_flood_of_key_updates_does_not_hold_the_worker(context, client_context, tmp_path):
    """Each read comes back full of them, so without a limit the transport would read on as long as they come."""
    async with running() as engine:
        theirs = client_context(V13)
        theirs.keylog_filename = str(tmp_path / "keys")
        line = Line(engine, context, theirs, unix_pair)
        records = await take_over(line, tmp_path / "keys")
        flood = b"".join(records.key_update() for _ in range(4_000))
        line.client.sock.send(flood)
        line.tls.size = 64
        with pytest.raises(ProxyError, match="TLS failed: many records and no data") as caught:
            await line.ours(lambda tls: tls.recv()).outcome()
        assert caught.value.source is Source.CLIENT
        assert line.tls.received < len(flood)
        line.close()


async def test_records_without_end_give_way(context, client_context):
    """Tiny records cost more than their bytes: 16 reads, or 256 KiB, then everybody else has a turn."""
    async with running() as engine:
        line = await Line(engine, context, client_context(V13)).establish()
        seen = []

        async def bulk(tls):
            while True:
                line.client.tls.write(b"x" * 5_000)
                with suppress(BlockingIOError):
                    line.client.sock.send(line.client.outgoing.read())
                tls.size = 1_000
                await tls.recv()

        async def quiet(task):
            for _ in range(10):
                await engine.give_way()
                seen.append(line.tls.received)
            engine.throw(job.task, Closed())

        job = line.ours(bulk)
        await Job(engine, quiet).outcome()
        await job.ended.wait()
        assert all(0 <= after - before <= TURN_BYTES for before, after in pairwise(seen))
        assert seen[-1] > seen[0]
        line.close()


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


@needs_openssl
@pytest.mark.parametrize(
    ("version", "command", "printed"), [("-tls1_3", b"K", b"KEYUPDATE"), ("-tls1_2", b"R", b"RENEGOTIATING")]
)
async def test_s_client_updates_keys_and_may_not_renegotiate(context, version, command, printed):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "{}:{}".format(*listener.getsockname())
        client = await trio.lowlevel.open_process(
            ["openssl", "s_client", version, "-connect", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        ours, _ = await trio.to_thread.run_sync(listener.accept)
    ours.setblocking(False)
    shown = bytearray()

    async def until(text):
        while text not in shown:
            piece = await client.stdout.receive_some()
            assert piece, bytes(shown)
            shown.extend(piece)

    async with running() as engine:

        async def echo(task):
            tls = TlsTransport(PlainTransport(engine, ours, Source.CLIENT, task), context)
            try:
                await tls.handshake()
                while data := await tls.recv():
                    await tls.send(data.upper())
            finally:
                tls.close()

        job = Job(engine, echo)
        await client.stdin.send_all(b"before\n")
        await until(b"BEFORE\n")
        await client.stdin.send_all(command + b"\n")
        await until(printed)
        await client.stdin.send_all(b"after\n")
        if command == b"K":
            await until(b"AFTER\n")
            await client.stdin.send_all(b"Q\n")
        else:
            await until(b"no renegotiation")
        await client.stdin.aclose()
        await client.wait()
        await job.ended.wait()
        await client.stdout.aclose()
        assert b"AFTER" in shown or command == b"R"
