"""A process that waits in the engine's set: connections and trio's tasks both get on, whatever the other does."""

import socket
import threading

import pytest
import trio

from balancer.errors import Source
from balancer.net import host
from balancer.net.engine import Engine
from balancer.net.transport import PlainTransport


class Steps(trio.abc.Instrument):
    """Counts the steps of trio's tasks."""

    def __init__(self):
        self.count = 0

    def before_task_step(self, task):
        self.count += 1


async def echo(transport):
    while data := await transport.recv():
        await transport.send(data)


def connection(engine):
    """A connection whose far end is echoed by the engine."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport = PlainTransport(engine, theirs, Source.CLIENT, None)
    transport.task = engine.spawn(echo(transport))
    return ours


def run(main):
    """Run ``main(engine)`` beside the engine; it may take five seconds."""
    engine = Engine()

    async def bounded():
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                await nursery.start(host.serve, engine)
                await main(engine)
                nursery.cancel_scope.cancel()

    trio.run(bounded)
    assert engine.tasks == set()


@pytest.fixture(params=["our set", "trio's set"], autouse=True)
def waits_in(request, monkeypatch):
    """Where the process waits: a trio that keeps its descriptor for itself must do as well."""
    if request.param == "trio's set":
        monkeypatch.setattr(host, "epoll_of_trio", lambda: None)
    return request.param


def test_this_trio_says_where_it_waits(waits_in):
    async def main(engine):
        assert (host.epoll_of_trio() is not None) == (waits_in == "our set")

    run(main)


def test_bytes_pass_while_trio_waits():
    async def main(engine):
        with connection(engine) as ours:
            ours.setblocking(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            for number in range(100):
                await stream.send_all(b"%d" % number)
                assert await stream.receive_some() == b"%d" % number

    run(main)


def test_connections_do_not_wake_trio(waits_in):
    async def main(engine):
        done, steps = trio.Event(), Steps()
        token = trio.lowlevel.current_trio_token()

        def client():
            for _ in range(500):
                ours.sendall(b"a")
                assert ours.recv(1) == b"a"
            token.run_sync_soon(done.set)

        with connection(engine) as ours:
            thread = threading.Thread(target=client)
            trio.lowlevel.add_instrument(steps)
            thread.start()
            await done.wait()
            thread.join()
            trio.lowlevel.remove_instrument(steps)
        assert waits_in == "trio's set" or steps.count < 250

    run(main)


def test_a_task_of_the_engine_wakes_one_of_trio():
    async def main(engine):
        event, began = trio.Event(), trio.current_time()

        async def later():
            for _ in range(3):
                await engine.give_way()
            event.set()

        engine.spawn(later())
        with trio.move_on_after(60):
            await event.wait()
        assert trio.current_time() - began < 4

    run(main)


def test_trio_is_not_kept_from_its_deadlines_threads_and_events():
    async def main(engine):
        began = trio.current_time()
        await trio.sleep(0.02)
        assert await trio.to_thread.run_sync(lambda: 5) == 5
        with connection(engine):
            (task,) = engine.tasks
            task.expires = engine.now
            while engine.tasks:
                await trio.lowlevel.checkpoint()
        ours, theirs = trio.socket.socketpair()
        with ours, theirs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.recv, 1)
                await theirs.send(b"a")
        assert trio.current_time() - began < 4

    run(main)


def test_busy_tasks_of_trio_do_not_hold_up_connections():
    async def busy():
        while True:
            await trio.lowlevel.checkpoint()

    async def main(engine):
        with connection(engine) as ours:
            ours.sendall(b"a")
            ours.setblocking(False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(busy)
                assert await trio.SocketStream(trio.socket.from_stdlib_socket(ours)).receive_some() == b"a"
                nursery.cancel_scope.cancel()

    run(main)


def test_busy_connections_do_not_hold_up_trio():
    async def main(engine):
        async def busy():
            while True:
                await engine.give_way()

        engine.spawn(busy())
        for _ in range(3):
            await trio.sleep(0.01)

    run(main)


def test_what_ends_it_closes_the_connections():
    async def broken(engine):
        raise ValueError("broken")

    ends = []

    async def main(engine):
        ends.append(connection(engine))
        await broken(engine)

    with pytest.RaisesGroup(ValueError):
        run(main)
    with ends[0]:
        assert ends[0].recv(1) == b""


@pytest.mark.pure
def test_a_fault_of_the_engine_does_not_stop_it(waits_in, monkeypatch, caplog):
    """trio drops an instrument that raises."""
    if waits_in == "trio's set":
        pytest.skip("there is no instrument")

    async def main(engine):
        def broken(timeout):
            monkeypatch.undo()
            raise MemoryError

        monkeypatch.setattr(engine, "serve", broken)
        await trio.sleep(0.01)
        with connection(engine) as ours:
            ours.sendall(b"a")
            assert await trio.to_thread.run_sync(ours.recv, 1) == b"a"
        assert engine.crashes == 1

    run(main)
    assert "the engine could not wait; trio waits this once" in caplog.text
