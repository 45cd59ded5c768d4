"""Work in the other process: an answer goes to who asked for it, whatever happens to the process or to who asked."""

import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from state import config
from trio.testing import wait_all_tasks_blocked

from balancer.control.offload import Offload
from balancer.errors import Refused
from balancer.ring.build import build


def until_asleep(process):
    while Path(f"/proc/{process}/stat").read_text().split()[2] != "S":
        pass


@asynccontextmanager
async def helping():
    """An offload, and the certainty that it leaves no process behind."""
    offload = Offload()
    try:
        yield offload
    finally:
        await offload.close()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222


async def test_pure_work_comes_back():
    async with helping() as offload:
        pool = config().pool[0]
        ring = await offload.call(build, pool, {"b": 2.0})
        assert ring.fingerprint == build(pool, {"b": 2.0}).fingerprint
        assert await offload.call(os.getpid) != os.getpid()
        assert await offload.call(os.getpid) == await offload.call(os.getpid)


async def test_much_goes_both_ways():
    async with helping() as offload:
        data = os.urandom(3 << 20)
        assert await offload.call(bytes, data) == data


async def test_exceptions_come_back():
    async with helping() as offload:
        with pytest.raises(ValueError, match="invalid literal"):
            await offload.call(int, "x")
        with pytest.raises(Refused, match="every weight is 0"):
            await offload.call(build, config().pool[0], dict.fromkeys("abc", 0.0))
        assert await offload.call(int, "7") == 7


async def test_a_killed_process_is_replaced():
    async with helping() as offload:
        first = await offload.call(os.getpid)
        os.kill(first, signal.SIGKILL)
        second = await offload.call(os.getpid)
        assert second not in (first, os.getpid())
        assert await offload.call(os.getpid) == second


async def test_killed_over_its_work_it_is_tried_once_more_and_then_refused():
    async with helping() as offload:
        before = await offload.call(os.getpid)
        with pytest.raises(Refused, match="has died over it"):
            await offload.call(os._exit, 1)
        assert await offload.call(os.getpid) != before


async def test_no_process_to_be_had(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    async with helping() as offload:
        with pytest.raises(Refused, match="could be started"):
            await offload.call(int, "7")


async def test_who_leaves_takes_no_answer_of_others(tmp_path):
    """The answer of the one who has left may be on its way, or in the pipe already."""
    async with helping() as offload:
        await offload.call(int, "0")
        for number in range(20):
            with trio.move_on_after(0.0002 * number):
                await offload.call(divmod, number, 7)
            assert await offload.call(str, number) == str(number)


async def test_an_answer_nobody_waits_for_any_more_is_nobodys(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with helping() as offload:
        helper = await offload.call(os.getpid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(offload.call, Path.read_text, fifo)
            await wait_all_tasks_blocked()
            fifo.write_text("too late")
            until_asleep(helper)  # the answer is in the pipe, and the next request awaited
            nursery.cancel_scope.cancel()
        assert await offload.call(str, 7) == "7"


async def test_who_leaves_while_waiting_for_a_turn_disturbs_nobody(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with helping() as offload, trio.open_nursery() as nursery:
        found = []

        async def ask():
            found.append(await offload.call(Path.read_text, fifo))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0) as left:
            await offload.call(int, "1")
        assert left.cancelled_caught
        await trio.to_thread.run_sync(fifo.write_text, "the answer")
    assert found == ["the answer"]


async def test_many_at_once_each_have_their_own():
    async with helping() as offload, trio.open_nursery() as nursery:

        async def ask(number):
            assert await offload.call(str, number) == str(number)

        for number in range(30):
            nursery.start_soon(ask, number)


async def test_it_ends_with_us(tmp_path):
    """Killed, we cannot end it: its input does."""
    script = (
        "import trio, os\n"
        "from balancer.control.offload import Offload\n"
        "async def main():\n"
        "    offload = Offload()\n"
        "    print(await offload.call(os.getpid), flush=True)\n"
        "    await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    parent = await trio.lowlevel.open_process([sys.executable, "-c", script], stdout=-1)
    helper = os.pidfd_open(int(await parent.stdout.receive_some()))
    try:
        parent.kill()
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(helper)  # a pidfd is readable once its process has ended
            await parent.wait()
    finally:
        os.close(helper)
        await parent.stdout.aclose()
