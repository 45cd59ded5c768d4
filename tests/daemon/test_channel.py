"""Messages between the supervisor and a child, and the descriptors that go along."""

import os
import socket

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.ipc.channel import MOST_FDS, Channel, Message, pair

values = st.recursive(st.none() | st.integers() | st.text(max_size=50), lambda inner: st.lists(inner, max_size=3))
fields = st.dictionaries(st.sampled_from(["a", "b", "c"]), values)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["beat", "want"]), fields), max_size=5))
def test_messages_keep_their_boundaries(messages):
    async def main():
        one, other = map(Channel, pair())
        for kind, said in messages:
            await one.send(kind, **said)
        assert [await other.receive() for _ in messages] == [Message(kind, said) for kind, said in messages]
        one.close()
        assert await other.receive() is None
        other.close()

    trio.run(main)


def test_as_many_descriptors_as_one_message_takes():
    async def main():
        one, other = map(Channel, pair())
        with socket.socket() as sock:
            await one.send("sockets", [sock.fileno()] * MOST_FDS, keys=["web"] * MOST_FDS)
            message = await other.receive()
            assert len(message.fds) == MOST_FDS
            assert {os.fstat(fd).st_ino for fd in message.fds} == {os.fstat(sock.fileno()).st_ino}
            assert not any(os.get_inheritable(fd) for fd in message.fds)
            for fd in message.fds:
                os.close(fd)
        one.close()
        other.close()

    trio.run(main)


def test_nobody_there_is_no_fault():
    async def main():
        one, other = map(Channel, pair())
        other.close()
        await one.send("beat")
        assert await one.receive() is None
        one.close()
        await one.send("beat")

    trio.run(main)
