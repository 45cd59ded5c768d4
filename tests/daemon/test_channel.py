"""Messages between the supervisor and a child, and the descriptors that go along."""

import errno
import os
import socket
from contextlib import closing

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.ipc.channel import MOST_FDS, Channel, Received, pair
from balancer.ipc.supervision import TO_CHILD, TO_SUPERVISOR, Drain, Heartbeat, LinkEnd, ListeningFds, StatusText
from balancer.ipc.wire import Unreadable, encode

said = st.sampled_from([Drain(), LinkEnd(1, 2)]) | st.builds(ListeningFds, st.integers(0, 9), st.just(("web",)))


def channels():
    """Return the supervisor's end, and a child's."""
    one, other = pair()
    return Channel(one, TO_SUPERVISOR), Channel(other, TO_CHILD)


def open_fds():
    return set(os.listdir("/proc/self/fd"))


@settings(max_examples=25)
@given(st.lists(said, max_size=5))
def test_messages_keep_their_boundaries(messages):
    async def main():
        one, other = channels()
        for message in messages:
            await one.send(message)
        assert [await other.receive() for _ in messages] == [Received(message, []) for message in messages]
        one.close()
        assert await other.receive() is None
        other.close()

    trio.run(main)


async def test_as_many_descriptors_as_one_message_takes():
    one, other = channels()
    with socket.socket() as sock, closing(one), closing(other):
        await one.send(ListeningFds(1, ("web",), ("web",) * MOST_FDS), [sock.fileno()] * MOST_FDS)
        _, fds = await other.receive()
        assert len(fds) == MOST_FDS
        assert {os.fstat(fd).st_ino for fd in fds} == {os.fstat(sock.fileno()).st_ino}
        assert not any(os.get_inheritable(fd) for fd in fds)
        for fd in fds:
            os.close(fd)


async def test_descriptors_that_nobody_expects_are_closed():
    ours, theirs = pair()
    one, other = Channel(ours, TO_SUPERVISOR), Channel(theirs, TO_CHILD)
    with socket.socket() as sock, closing(one), closing(other):
        before = open_fds()
        for message in (Drain(), Heartbeat()):  # one that takes none, and one that children do not know
            await one.send(message, [sock.fileno()] * 3)
        assert await other.receive() == Received(Drain(), [])
        message, fds = await other.receive()
        assert isinstance(message, Unreadable)
        assert fds == []
        socket.send_fds(ours, [b"no frame"], [sock.fileno()])
        message, fds = await other.receive()
        assert isinstance(message, Unreadable)
        assert fds == []
        assert open_fds() == before


async def test_two_frames_in_one_message_are_not_read():
    ours, theirs = pair()
    with ours, closing(Channel(theirs, TO_SUPERVISOR)) as other:
        ours.send(encode(Heartbeat()) * 2)
        message, _ = await other.receive()
        assert isinstance(message, Unreadable)


@given(st.binary(min_size=1, max_size=100))
def test_nothing_that_is_received_raises(data):
    async def main():
        ours, theirs = pair()
        with ours, closing(Channel(theirs, TO_SUPERVISOR)) as other:
            ours.send(data)
            assert await other.receive() is not None

    trio.run(main)


async def test_a_closed_end_is_no_error():
    one, other = channels()
    other.close()
    await one.send(StatusText("well"))
    assert await one.receive() is None
    one.close()
    await one.send(StatusText("well"))


async def test_a_message_for_which_the_kernel_has_no_memory_is_sent_later(autojump_clock, monkeypatch):
    one, other = channels()
    failures = [errno.ENOBUFS, errno.ENOMEM]
    send = type(one._sock).sendmsg

    async def sendmsg(sock, *arguments):
        if failures:
            raise OSError(failures.pop(), "no memory")
        return await send(sock, *arguments)

    monkeypatch.setattr(type(one._sock), "sendmsg", sendmsg)
    with closing(one), closing(other):
        await one.send(Drain())
        assert (await other.receive()).message == Drain()
    assert not failures
