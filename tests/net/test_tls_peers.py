"""What other TLS clients do and Python's does not: key updates, floods of them, renegotiation."""

import shutil
import socket
import subprocess
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
import trio
from net_rig import Job, running
from tls_client import Records, client_secret
from tls_line import V13, Line, unix_pair

from balancer.errors import ProxyError, Source
from balancer.net.engine import Closed
from balancer.net.tls import TlsTransport
from balancer.net.transport import TURN_BYTES, PlainTransport


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
        for number in range(5):
            stream = records.data(b"%d" % number) + records.key_update(requested) + records.key_update(requested)
            line.client.sock.send(stream + records.data(b"end"))
            assert await line.ours(lambda tls: tls.recv()).outcome() == b"%dend" % number
            await line.ours(lambda tls: tls.send(b".")).outcome()
            assert await line.client.recv() == b"."  # under the keys we have moved to, if asked to
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


class SClient:
    """openssl s_client against an upper-casing echo; a line that is one letter is a command to it (s_client(1))."""

    def __init__(self, process):
        self.process = process
        self.shown = bytearray()

    async def type(self, line):
        await self.process.stdin.send_all(line + b"\n")

    async def until(self, text):
        while text not in self.shown:
            piece = await self.process.stdout.receive_some()
            assert piece, bytes(self.shown)
            self.shown += piece


@asynccontextmanager
async def s_client(engine, context, version):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = await trio.lowlevel.open_process(
            ["openssl", "s_client", version, "-connect", "{}:{}".format(*listener.getsockname())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        ours, _ = await trio.to_thread.run_sync(listener.accept)
    ours.setblocking(False)

    async def echo(task):
        tls = TlsTransport(PlainTransport(engine, ours, Source.CLIENT, task), context)
        try:
            await tls.handshake()
            while data := await tls.recv():
                await tls.send(data.upper())
        finally:
            tls.close()

    job = Job(engine, echo)
    async with process.stdin, process.stdout:
        try:
            yield SClient(process)
        finally:
            process.kill()
            await process.wait()
    await job.ended.wait()


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


@needs_openssl
async def test_s_client_updates_keys(context):
    async with running() as engine, s_client(engine, context, "-tls1_3") as client:
        await client.type(b"before")
        await client.until(b"BEFORE")
        await client.type(b"K")
        await client.until(b"KEYUPDATE")
        await client.type(b"after")
        await client.until(b"AFTER")


@needs_openssl
async def test_s_client_may_not_renegotiate(context):
    async with running() as engine, s_client(engine, context, "-tls1_2") as client:
        await client.type(b"before")
        await client.until(b"BEFORE")
        await client.type(b"R")
        await client.until(b"RENEGOTIATING")
        await client.until(b"no renegotiation")
