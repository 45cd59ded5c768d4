"""Lines from a terminal."""

import os

import pytest
import trio
import trio.testing

from balancer.demo.prompt import typed_lines


@pytest.fixture
def terminal():
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


async def test_lines_until_end_of_file(terminal):
    keyboard, screen = terminal
    os.write(keyboard, "first\n\nünï\nunfinished".encode() + b"\x04\x04")
    assert [line async for line in typed_lines(screen)] == ["first", "", "ünï"]
    assert os.get_blocking(screen)


async def test_waiting_for_a_line_can_be_cancelled(terminal):
    async def read():
        async for _ in typed_lines(terminal[1]):
            pytest.fail("nobody typed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_terminal_that_goes_away_is_the_end():
    keyboard, screen = os.openpty()
    os.close(keyboard)
    assert [line async for line in typed_lines(screen)] == []
    os.close(screen)
