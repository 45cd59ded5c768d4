"""Several workers write to one target: no line is mixed with another's."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

WRITER = """
import os
import trio
from balancer.proxy.accesslog import AccessLog, Record

async def main(name):
    log = AccessLog("stdout")
    record = Record(0.0)
    record.target = b"/" + name * 30_000  # far more than a pipe takes at once, and than it takes whole
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        for _ in range(100):
            log.write("request", record, client="", listener="", pool="", tls="", now=1.0)
        os.write(2, b".")
        nursery.cancel_scope.cancel()

trio.run(main, {name!r})
"""


def writers(target):
    return [
        subprocess.Popen(
            [sys.executable, "-c", WRITER.replace("{name!r}", repr(name))], stdout=target, stderr=subprocess.PIPE
        )
        for name in (b"a", b"b")
    ]


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_lines_stay_whole(tmp_path, kind):
    with ExitStack() as stack:
        if kind == "pipe":
            reading, writing = os.pipe()
        else:
            (tmp_path / "log").touch()
            reading, writing = (
                os.open(tmp_path / "log", os.O_RDONLY),
                os.open(tmp_path / "log", os.O_WRONLY | os.O_APPEND),
            )
        started = [stack.enter_context(each) for each in writers(writing)]
        os.close(writing)
        assert [each.stderr.read(1) for each in started] == [b".", b"."]  # both want to write, and nobody reads yet
        if kind == "file":
            assert [each.wait() for each in started] == [0, 0]
        with os.fdopen(reading, "rb") as lines:
            paths = [line.split(b'"path":"/')[1].split(b'"')[0] for line in lines]
    assert sorted(paths) == [b"a" * 30_000] * 100 + [b"b" * 30_000] * 100
