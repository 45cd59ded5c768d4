"""The link between control and a worker: everything in order, to the end of either side."""

import socket
from contextlib import aclosing

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.ipc import link as module
from balancer.ipc.link import Link


def links():
    return map(Link, socket.socketpair())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.one_of(st.integers(), st.binary(max_size=200_000)), max_size=5), max_size=8))
def test_what_is_posted_arrives_in_order_whatever_its_size(batches):
    async def main():
        one, other = links()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)

            async def post():
                for batch in batches:
                    for message in batch:
                        one.post(message)
                    await trio.lowlevel.checkpoint()
                one.post("end")

            nursery.start_soon(post)
            heard = []
            async with aclosing(aiter(other)) as messages:
                async for message in messages:
                    if message == "end":
                        break
                    heard.append(message)
            assert heard == [message for batch in batches for message in batch]
            nursery.cancel_scope.cancel()
        one.close()
        other.close()

    trio.run(main)


@pytest.mark.parametrize("killed", ["at once", "in the middle of a message"])
def test_the_end_of_the_other_side_ends_it(killed):
    async def main():
        ours, theirs = socket.socketpair()
        if killed != "at once":
            theirs.sendall((1000).to_bytes(8) + b"half of a message")
        theirs.close()
        link = Link(ours)
        with trio.fail_after(5):
            assert [message async for message in link] == []
            assert link.lost
            link.post("nobody hears this")
            await link.run()
        link.close()  # may be repeated

    trio.run(main)


def test_a_peer_that_takes_nothing_loses_the_link_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(module, "MOST_QUEUED", 100)

    async def main():
        one, other = links()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            one.post(b"x" * (8 << 20))  # more than the sockets hold
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(100):
                one.post(1)
            assert not one.lost
            one.post(1)
            assert one.lost
        other.close()

    trio.run(main)
