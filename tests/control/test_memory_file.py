"""What outlives the control process: the value saved last, whatever a process that was killed had half written."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import Refused
from balancer.store import memory_file as module
from balancer.store.memory_file import MemoryFile


@pytest.fixture
def fd():
    fd = os.memfd_create("test")
    yield fd
    os.close(fd)


@given(st.lists(st.binary(max_size=10_000), max_size=6))
def test_the_value_that_was_saved_last(values):
    fd = os.memfd_create("test")
    try:
        assert MemoryFile(fd).load() is None
        for value in values:
            MemoryFile(fd).save(value)  # as often by another process
            assert MemoryFile(fd).load() == value
    finally:
        os.close(fd)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("writes", range(2))
def test_a_process_killed_while_it_writes_loses_nothing(fd, monkeypatch, writes):
    """After so many writes of the second value, the last of which would have made it count."""
    MemoryFile(fd).save(b"first")
    left = [writes]

    def pwrite(fd, data, at):
        if not left[0]:
            written(fd, bytes(data)[: len(data) // 2] if at else b"", at)
            raise KilledError
        left[0] -= 1
        return written(fd, data, at)

    written = os.pwrite
    monkeypatch.setattr(module.os, "pwrite", pwrite)
    with pytest.raises(KilledError):
        MemoryFile(fd).save(b"second")
    monkeypatch.undo()
    assert MemoryFile(fd).load() == b"first"
    MemoryFile(fd).save(b"third")
    assert MemoryFile(fd).load() == b"third"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.ENOMEM])
def test_what_finds_no_room_is_refused_and_the_former_value_stays(fd, monkeypatch, error):
    file = MemoryFile(fd)
    file.save(b"first")

    def pwrite(*_):
        raise OSError(error, os.strerror(error))

    for use in (file.reserve, file.save):
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "pwrite", pwrite)
            with pytest.raises((Refused, OSError), match=os.strerror(error)):
                use(b"second")
        assert file.load() == b"first"
    file.reserve(b"second")
    assert file.load() == b"first"
    file.save(b"second")
    assert file.load() == b"second"
