"""Processes of the demo: how they end, and what is told about it."""

import os

import pytest
import trio
import trio.testing

from balancer.demo import child
from balancer.demo.child import Child

STUBBORN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {worker.pid}")
signal.pause()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that children can run."""

    def write(text):
        (tmp_path / "demo_child_module.py").write_text(text)
        return "demo_child_module"

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return write


async def test_its_last_words_are_kept(module):
    talker = "import sys\nfor i in range(20): print('line', i, file=sys.stderr)\nsys.exit(f'{sys.argv[1:]} \\udcff')"
    end = await Child("talker", module(talker), "--a", "b c").run()
    assert end.splitlines()[0] == "exit status 1"
    assert end.splitlines()[1:3] == ["  line 13", "  line 14"]
    assert end.splitlines()[-1].startswith("  ['--a', 'b c'] ")


async def test_a_signal_is_named(module):
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert await Child("killed", module(killed)).run() == "signal SIGKILL"


async def test_stop_waits_for_the_end(module):
    one = Child("one", module("import signal; signal.pause()"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        await trio.testing.wait_all_tasks_blocked()
        await one.stop()
    assert one.stopping


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_one_that_ignores_sigterm_is_killed_with_its_own_children(module, monkeypatch, tmp_path, how):
    monkeypatch.setattr(child, "TERM_TIMEOUT", 0.1)
    os.mkfifo(tmp_path / "pids")
    stubborn = Child("stubborn", module(STUBBORN), str(tmp_path / "pids"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stubborn.run)
        processes = [os.pidfd_open(int(pid)) for pid in (await trio.Path(tmp_path / "pids").read_text()).split()]
        if how == "stop":
            await stubborn.stop()
        nursery.cancel_scope.cancel()
    for process in processes:
        await trio.lowlevel.wait_readable(process)  # it has ended
        os.close(process)
