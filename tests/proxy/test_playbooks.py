"""Requests, uploads, tunnels and failures as playbooks, however their bytes are split."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playbook import Playbook, at, byte_by_byte, comparable, play, unframed
from playbooks import ASKED, GET, PLAYBOOKS, error, failed
from playbooks_ends import MORE_PLAYBOOKS, UNREADABLE

ALL = PLAYBOOKS | MORE_PLAYBOOKS
each_playbook = pytest.mark.parametrize("playbook", ALL.values(), ids=ALL.keys())


@each_playbook
def test_what_everybody_gets(playbook):
    outcome = play(playbook)
    assert outcome.client == playbook.client
    assert outcome.end == playbook.end
    assert outcome.hosts == {"a": [], "b": [], **playbook.hosts}
    assert outcome.log == playbook.log


@each_playbook
def test_byte_by_byte(playbook):
    assert comparable(playbook, play(playbook, byte_by_byte)) == comparable(playbook, play(playbook))


@each_playbook
@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_split_anywhere(playbook, cuts):
    assert comparable(playbook, play(playbook, at(cuts))) == comparable(playbook, play(playbook))


@pytest.mark.parametrize("good", [b"", b"2\r\nok\r\n"])
def test_an_unreadable_body_is_answered_as_long_as_nothing_was_sent(good):
    """Not a playbook: with its head on the way already, the answer can only be cut short."""
    outcome = play(Playbook([("client", GET), ("a", UNREADABLE.replace(b"zz", good + b"zz"))]))
    assert outcome.client == error(502, b"a malformed chunk size", keep=True)
    assert outcome.log == [failed(502, "a malformed chunk size")]
    assert outcome.hosts["a"] == [(ASKED, "eof")]


def test_chunks_without_their_borders():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert unframed(head + b"2\r\nab\r\n1\r\nc\r\n0\r\nA: b\r\n\r\n") == head + b"abc|A: b\r\n\r\n"
    assert unframed(head + b"2\r\nab\r\n1\r\nc\r\n") == head + b"abc"
