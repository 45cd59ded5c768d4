"""The loop under the benchmark's clients and backends."""

import socket
from contextlib import closing

import pytest

from bench.loop import READ, Loop, Stalled, discard, receive, send


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


def test_one_sends_what_the_other_receives(pair):
    one, other = pair
    got = []

    def taker():
        yield from discard(other, 5_000_000)
        got.append((yield from receive(other)))

    loop = Loop()
    loop.start(send(one, bytes(5_000_000) + b"end"))  # more than a socket holds
    loop.start(taker())
    loop.run(5)
    assert got == [b"end"]


def test_what_comes_for_one_that_has_ended_wakes_nobody(pair):
    """As the session tickets that follow a TLS handshake."""
    one, other = pair
    third, fourth = socket.socketpair()
    steps = []

    def first():
        yield one, READ
        steps.append("first")  # and leaves what has come unread

    def second():
        for _ in range(3):
            yield third, READ
            steps.append(third.recv(1))

    with third, fourth:
        other.send(b"unread")
        fourth.send(b"abc")
        loop = Loop()
        loop.start(first())
        loop.start(second())
        loop.run(5)
    assert sorted(map(str, steps)) == ["b'a'", "b'b'", "b'c'", "first"]


def test_a_new_socket_may_have_the_number_of_a_closed_one():
    numbers = []

    def visits():
        for _ in range(3):
            with closing(socket.create_connection(address)) as sock:
                numbers.append(sock.fileno())
                sock.setblocking(False)
                assert (yield from receive(sock)) == b"hello"

    def host():
        for _ in range(3):
            yield listener, READ
            sock, _ = listener.accept()
            with sock:
                sock.send(b"hello")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        loop = Loop()
        loop.start(host())
        loop.start(visits())
        loop.run(5)
    assert len(numbers) == 3


def test_an_answer_that_does_not_come_is_told(pair):
    loop = Loop()
    loop.start(discard(pair[0], 1))
    with pytest.raises(Stalled, match=r"1 connections had no answer for 0\.01 s"):
        loop.run(0.01)


def test_a_stream_that_ends_too_early_is_told(pair):
    one, other = pair
    other.send(b"abc")
    other.close()
    loop = Loop()
    with pytest.raises(ConnectionError, match="1 bytes too early"):
        loop.start(discard(one, 4))
