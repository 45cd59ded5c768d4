"""The link between control and a worker: everything in order, to the end of either side."""

import socket
from contextlib import aclosing
from typing import ClassVar

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.ipc import link as module
from balancer.ipc.link import Link
from balancer.ipc.wire import Message, Unreadable, Vocabulary


class Note(Message, frozen=True):
    TYPE: ClassVar[int] = 9
    text: bytes


NOTES = Vocabulary(Note)


def links():
    return [Link(sock, NOTES) for sock in socket.socketpair()]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=200_000), max_size=5), max_size=8))
def test_what_is_posted_arrives_in_order_whatever_its_size(batches):
    async def main():
        one, other = links()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)

            async def post():
                for batch in batches:
                    for text in batch:
                        one.post(Note(text))
                    await trio.lowlevel.checkpoint()
                one.post(Note(b"the end"))

            nursery.start_soon(post)
            heard = []
            async with aclosing(aiter(other)) as messages:
                async for message in messages:
                    if message.text == b"the end":
                        break
                    heard.append(message.text)
            assert heard == [text for batch in batches for text in batch]
            nursery.cancel_scope.cancel()
        one.close()
        other.close()

    trio.run(main)


@pytest.mark.parametrize("sent", [b"", (1000).to_bytes(4) + b"half of a message", b"\xff" * 20])
async def test_the_end_of_the_other_side_or_of_sense_ends_it(sent):
    ours, theirs = socket.socketpair()
    theirs.sendall(sent)
    theirs.close()
    link = Link(ours, NOTES)
    with trio.fail_after(60):
        assert [message async for message in link] == []
        assert link.lost
        link.post(Note(b"this reaches nobody"))
        await link.run()
    link.close()  # may be repeated


async def test_what_cannot_be_read_is_passed_over():
    ours, theirs = socket.socketpair()
    link = Link(ours, NOTES)
    theirs.sendall((5).to_bytes(4) + b"\0\7\1" + b"??" + (3).to_bytes(4) + b"\0\x09\1")
    theirs.close()
    with trio.fail_after(60):
        found = [message async for message in link]
    assert [type(each) for each in found] == [Unreadable, Unreadable]


async def test_a_peer_that_takes_nothing_loses_the_link_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(module, "MAX_QUEUED", 1000)
    one, other = links()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        one.post(Note(b"x" * (8 << 20)))  # more than the sockets hold
        await trio.testing.wait_all_tasks_blocked()
        while not one.lost:
            one.post(Note(b"y" * 300))
    other.close()
