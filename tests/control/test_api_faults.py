"""What the admin API does with clients that stall and with faults of its own, in this process and without waiting."""

import json
import socket
import time
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from state import Kept, operating

from balancer.admin import server
from balancer.admin.api import AdminApi
from balancer.admin.listener_set import AdminListeners
from balancer.admin.listeners import AdminListener
from balancer.admin.server import ApiResponse
from balancer.config.model import Config
from balancer.store.journal import Journal

CONFIG = {
    "listener": [{"name": "web", "bind": ["127.0.0.1:0"], "pool": "ide"}],
    "pool": [{"name": "ide", "backend": [{"name": "ide-01", "address": "127.0.0.1:1"}]}],
}
STATUS = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def serving(start):
    """Connects to what ``start(nursery, socket)`` has started."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await start(nursery, listener)
        yield partial(trio.open_tcp_stream, "127.0.0.1", port)
        nursery.cancel_scope.cancel()


async def rest(stream):
    """Everything up to the end; a reset is one."""
    data = bytearray()
    try:
        async for part in stream:
            data += part
    except trio.BrokenResourceError:
        pass
    return bytes(data)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP", STATUS[:-2], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_client_that_stops_sending(autojump_clock, sent):
    async def never(request, sock):
        raise AssertionError

    async def start(nursery, listener):
        nursery.start_soon(server.serve, listener, never, nursery, server.Unanswered())

    async with serving(start) as connect:
        began = trio.current_time()
        async with await connect() as client:
            await client.send_all(sent)
            assert await rest(client) == b""
        assert trio.current_time() - began == pytest.approx(server.CLIENT_TIMEOUT, abs=1)


async def test_a_client_that_does_not_read(autojump_clock):
    ended = trio.Event()

    async def huge(request, sock):
        return ApiResponse(200, b"x" * (64 << 20), "text/plain")

    async def start(nursery, listener):
        async def serve_one():
            async with trio.SocketListener(trio.socket.from_stdlib_socket(listener)) as accepting:
                stream = await accepting.accept()
            async with stream:
                await server.converse(stream, huge, trio.Semaphore(1), server.Unanswered())
            ended.set()

        nursery.start_soon(serve_one)

    async with serving(start) as connect, await connect() as client:
        await client.send_all(STATUS)
        with trio.fail_after(2 * server.CLIENT_TIMEOUT):
            await ended.wait()


async def test_a_fault_of_ours_is_logged_once_and_told_to_nobody(caplog, tmp_path):
    config = Config.model_validate(CONFIG)
    journal = Journal(tmp_path)
    services = operating(Kept(config, journal, time.time))
    services.reloader.last = "what must not be"

    async def start(nursery, listener):
        await nursery.start(AdminApi(services, AdminListeners()).run, [AdminListener(listener, "test", "test")])

    async with serving(start) as connect, await connect() as client:
        await client.send_all(
            STATUS + STATUS.replace(b"status", b"pools").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        answers = await rest(client)
    journal.close()
    fault, others = answers.split(b"HTTP/1.1 200")
    assert fault.startswith(b"HTTP/1.1 500")
    assert json.loads(fault.partition(b"\r\n\r\n")[2]) == {
        "error": "the balancer made a mistake; its log has the details"
    }
    assert b'"name": "ide"' in others
    (record,) = [each for each in caplog.records if each.name == "balancer.admin" and each.exc_info]
    assert record.message == "GET /v1/status failed"
    assert "has no attribute" in str(record.exc_info[1])
