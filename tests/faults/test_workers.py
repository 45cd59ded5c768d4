"""The supervisor's workers on a clock of our own, where the system refuses something."""

import errno
import os
import socket
from contextlib import closing, contextmanager
from itertools import pairwise

import pytest
import trio

from balancer.config.scalars import Address
from balancer.daemon.boards import Boards
from balancer.daemon.child import LONGEST_WAIT, ChildOwner, ChildProcess
from balancer.daemon.sockets import Sockets
from balancer.daemon.workers import TRY_AGAIN, Workers
from balancer.ipc.channel import Channel, pair
from balancer.ipc.supervision import TO_CHILD, TO_SUPERVISOR, LinkEnd, ListeningFds, Processes, Resend
from balancer.upgrade.release import Release

NO_ROOM = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class Owner(ChildOwner):
    async def child_started(self, child):
        pass

    async def child_ended(self, child):
        pass

    async def child_said(self, child, message, fds):
        pass


NOTHING = Release("/nowhere", "nothing")


def process(name):
    """A child that is never started."""
    return ChildProcess(name, NOTHING, "nothing", [], [], Owner())


@contextmanager
def some_workers(control, sockets):
    boards = Boards()
    with closing(boards):
        yield Workers(control, sockets, boards, NOTHING, 1)


def run_as_if(child):
    """As if the process of ``child`` ran; the other end of its channel."""
    ours, theirs = pair()
    child.channel, child.pid = Channel(ours, TO_SUPERVISOR), os.getpid()
    return Channel(theirs, TO_CHILD)


async def heard(end, kind):
    message, fds = await end.receive()
    for fd in fds:
        os.close(fd)
    assert isinstance(message, kind)
    return message, len(fds)


async def test_a_link_that_finds_no_descriptor_is_tried_again(autojump_clock, monkeypatch, caplog):
    control = process("control")

    async def keep(self):
        await trio.sleep_forever()

    monkeypatch.setattr(ChildProcess, "keep", keep)
    with closing(run_as_if(control)) as said_to_control, some_workers(control, Sockets([])) as workers:
        async with trio.open_nursery() as nursery:
            workers.open(nursery)
            (worker,) = workers.all
            with closing(run_as_if(worker)) as said_to_worker, monkeypatch.context() as patch:

                def refuse(*_):
                    raise NO_ROOM

                patch.setattr(socket, "socketpair", refuse)
                await workers.child_started(worker)
                await heard(said_to_control, Processes)
                await heard(said_to_worker, ListeningFds)
                began = trio.current_time()
                await trio.sleep(TRY_AGAIN / 2)
                patch.undo()
                assert await heard(said_to_control, LinkEnd) == (LinkEnd(0, os.getpid(), 1), 1)
                assert await heard(said_to_worker, LinkEnd) == (LinkEnd(), 1)
                assert trio.current_time() == began + TRY_AGAIN
            worker.channel.close()
            nursery.cancel_scope.cancel()
        control.channel.close()
    assert "control and worker 0 cannot be linked: Too many open files; trying again" in caplog.text


@pytest.mark.parametrize(
    "error", [NO_ROOM, BlockingIOError(errno.EAGAIN, "no processes"), MemoryError(), RuntimeError("no thread")]
)
async def test_a_process_that_cannot_be_started_is_tried_again_with_back_off(
    autojump_clock, monkeypatch, caplog, error
):
    tried = []

    async def refuse(*_, **__):
        tried.append(trio.current_time())
        raise error

    monkeypatch.setattr(trio.lowlevel, "open_process", refuse)
    with trio.move_on_after(60):
        await process("worker 0").keep()
    waits = [round(after - before, 3) for before, after in pairwise(tried)]
    assert waits[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]
    assert set(waits[7:]) == {LONGEST_WAIT}
    assert caplog.messages[0].startswith("worker 0 could not be started (")
    assert caplog.messages[0].endswith("; restarting it in 0.1 s")


async def test_a_worker_is_sent_only_the_sockets_it_has_not_got(autojump_clock, monkeypatch):
    control, sockets = process("control"), Sockets([])

    async def keep(self):
        await trio.sleep_forever()

    async def reload(*keys):
        sockets.prepare({key: Address("127.0.0.1") for key in keys}, 1)
        await workers.commit(1, 10.0)

    monkeypatch.setattr(ChildProcess, "keep", keep)
    with closing(sockets), some_workers(control, sockets) as workers:
        async with trio.open_nursery() as nursery:
            workers.open(nursery)
            (worker,) = workers.all
            with closing(run_as_if(worker)) as end:
                await reload("a", "b")
                assert await heard(end, ListeningFds) == (ListeningFds(1, ("a", "b"), ("a", "b")), 2)
                await reload("a", "b")
                assert await heard(end, ListeningFds) == (ListeningFds(2, ("a", "b")), 0)
                await reload("b", "c")
                assert await heard(end, ListeningFds) == (ListeningFds(3, ("b", "c"), ("c",)), 1)
                await reload("a", "b")
                assert await heard(end, ListeningFds) == (ListeningFds(4, ("a", "b"), ("a",)), 1)
                await workers.child_said(worker, Resend(), [])
                assert await heard(end, ListeningFds) == (ListeningFds(4, ("a", "b"), ("a", "b")), 2)
                worker.channel.close()
            with closing(run_as_if(worker)) as end:  # another process
                await workers.child_started(worker)
                assert await heard(end, ListeningFds) == (ListeningFds(4, ("a", "b"), ("a", "b")), 2)
                worker.channel.close()
            nursery.cancel_scope.cancel()


class Crowd:
    """Clients of a port, and which of our sockets each came to."""

    def __init__(self, port):
        self.port = port
        self.clients = []

    def come(self, number):
        for _ in range(number):
            client = socket.create_connection(("127.0.0.1", self.port))
            client.setblocking(False)
            self.clients.append(client)

    def close(self):
        for client in self.clients:
            client.close()

    def reset(self):
        """How many of them the kernel has thrown out."""
        gone = 0
        for client in self.clients:
            try:
                client.recv(1)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                gone += 1
        return gone


def accepted(fd):
    """How many clients wait at a socket, accepted and let go."""
    number = 0
    with socket.socket(fileno=os.dup(fd)) as sock:
        while True:
            try:
                client, _ = sock.accept()
            except BlockingIOError:
                return number
            client.close()
            number += 1


def test_no_new_client_comes_to_a_surplus_socket_and_no_waiting_one_is_lost():
    wanted = {"web": Address("127.0.0.1", 0)}
    with closing(Sockets([])) as sockets:

        def workers(number):
            (bound,) = sockets.prepare(wanted, number)["web"]
            sockets.commit(number)
            return int(bound.rpartition(":")[2])

        port = workers(4)
        with closing(Crowd(port)) as crowd:
            crowd.come(60)
            workers(2)
            waiting = sockets.surplus_queued()
            assert waiting > 10, "some wait at each of the four"
            crowd.come(60)
            assert sockets.surplus_queued() == waiting, "new ones come to the two that remain"
            assert sum(accepted(sockets.of(worker)["web"][0]) for worker in range(4)) == 120
            assert sockets.surplus_queued() == 0
            sockets.close_surplus()
        with closing(Crowd(port)) as crowd:
            crowd.come(60)
            assert not crowd.reset()
            counts = [accepted(sockets.of(worker)["web"][0]) for worker in range(2)]
            assert sum(counts) == 60
            assert all(counts), "the kernel chooses among both"
        assert workers(3) == port
        with closing(Crowd(port)) as crowd:
            crowd.come(90)
            assert all(accepted(sockets.of(worker)["web"][0]) for worker in range(3)), "and among three again"


def test_surplus_sockets_are_taken_again():
    wanted = {"web": Address("127.0.0.1", 0)}
    with closing(Sockets([])) as sockets:
        sockets.prepare(wanted, 3)
        sockets.commit(3)
        before = [sockets.of(worker) for worker in range(3)]
        sockets.prepare(wanted, 1)
        sockets.commit(1)
        assert [sockets.of(worker) for worker in range(3)] == before
        sockets.prepare({**wanted, "other": Address("127.0.0.1", 0)}, 2)
        assert sockets.preparing
        sockets.commit(2)
        assert not sockets.preparing
        given = [sockets.of(worker) for worker in range(3)]
        assert [each["web"] for each in given] == [each["web"] for each in before]
        assert given[2]["other"] == given[0]["other"], "a surplus worker shares what is newer"
        sockets.close_surplus()
        assert [sockets.of(worker)["web"] for worker in range(2)] == [each["web"] for each in before[:2]]
