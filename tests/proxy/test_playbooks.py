"""Requests, uploads, tunnels and failures as playbooks, however their bytes are split."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playbook import at, byte_by_byte, comparable, play, unframed
from playbooks import PLAYBOOKS

each_playbook = pytest.mark.parametrize("playbook", PLAYBOOKS.values(), ids=PLAYBOOKS.keys())


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


def test_chunks_without_their_borders():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert unframed(head + b"2\r\nab\r\n1\r\nc\r\n0\r\nA: b\r\n\r\n") == head + b"abc|A: b\r\n\r\n"
    assert unframed(head + b"2\r\nab\r\n1\r\nc\r\n") == head + b"abc"
