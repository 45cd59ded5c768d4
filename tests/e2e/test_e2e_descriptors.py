"""No file descriptors left: new clients wait or are turned away, whoever is connected goes on, and all recovers."""

import contextlib
import time

from echo import Echo
from harness import Daemon, children, nothing_free, pool
from wire import get

PERIODS = 2.5
"""Seconds in which everything that is done every second has been tried without a descriptor."""


def test_the_daemon_lives_and_serves_who_is_there(tmp_path):
    with Echo() as backend:
        health = {"type": "tcp", "interval": "200ms", "timeout": "200ms"}
        admin = {"socket": str(tmp_path / "admin.sock")}
        with Daemon(
            tmp_path, pool=[pool(backend, health=health)], state_dir=str(tmp_path / "state"), admin=admin
        ) as daemon:
            with daemon.connect() as client:
                assert client.ask(get()).status == 201
                with contextlib.ExitStack() as stack:
                    for pid in (daemon.process.pid, *children(daemon.process.pid)):
                        stack.enter_context(nothing_free(pid))
                    end, answers = time.monotonic() + PERIODS, 0
                    while time.monotonic() < end:
                        assert client.ask(get(f"/{answers}?token=secret-1")).status == 201
                        answers += 1
                    newcomer = daemon.connect()
                with newcomer:
                    newcomer.takes(get())
                    assert client.ask(get()).status == 201
            with daemon.connect() as later:
                assert later.ask(get()).status == 201
