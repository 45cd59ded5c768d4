"""A worker whose link to control ends asks for another one, unless one has come by itself."""

import socket
from contextlib import closing

import pytest
import trio

from balancer.daemon.worker import RETRY_WAIT, Worker
from balancer.ipc.channel import Channel, pair
from balancer.ipc.supervision import TO_CHILD, TO_SUPERVISOR, Drain, Draining, Heartbeat, LinkEnd, Relink
from balancer.shared.counters import KEY_BYTES, SharedCounters, prepare, size


async def requests_for_links(end, seconds, beat=0.25):
    """Count the requests for a link while the worker sends the heartbeats of ``seconds``."""
    found, beats = 0, 0
    while beats < seconds / beat:
        message, _ = await end.receive()
        beats += isinstance(message, Heartbeat)
        found += isinstance(message, Relink)
    return found


async def link(end):
    """Give the worker a link; return control's end once the worker has attached."""
    ours, theirs = socket.socketpair()
    with theirs:
        await end.send(LinkEnd(), [theirs.fileno()])
    control = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    assert await control.receive_some(100)
    return control


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_link_that_ends(autojump_clock, replaced):
    shared = memoryview(bytearray(size(1)))
    prepare(shared, b"\0" * KEY_BYTES)
    ours, theirs = pair()
    with closing(Channel(ours, TO_SUPERVISOR)) as end, closing(Channel(theirs, TO_CHILD)) as worker_end:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Worker(worker_end, SharedCounters(shared, 0)).run)
            async with await link(end):
                pass
            assert await requests_for_links(end, RETRY_WAIT / 2) == 0
            if replaced:
                async with await link(end):
                    assert await requests_for_links(end, RETRY_WAIT * 4) == 0
            else:
                assert await requests_for_links(end, RETRY_WAIT * 4) == 1
            await end.send(Drain())
            while (await end.receive()).message != Draining():
                pass
