"""A reload with fewer workers, or more, loses no client, at whichever socket it waits."""

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon
from echo import Echo
from wire import PATIENCE, eventually

REQUEST = b"GET /?token=secret-1 HTTP/1.1\r\nHost: ide.example\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def hosts():
    with ExitStack() as stack:
        yield [stack.enter_context(Echo()) for _ in NAMES]


class Changing(AdminDaemon):
    """Whose number of workers changes."""

    def __init__(self, folder, hosts, workers, **sections):
        super().__init__(folder, hosts, workers=workers, timeouts={"drain": "1s"}, **sections)

    def have(self, workers):
        """Reload for so many; once as many are there."""
        text = Path(self.config).read_text()
        former = text.split("workers = ")[1].split("\n")[0]
        Path(self.config).write_text(text.replace(f"workers = {former}", f"workers = {workers}"))
        assert self.ask("POST", "/v1/reload", {}).status == 200

    def workers(self):
        return {each["worker"]: each["pid"] for each in self.get("/v1/status")["workers"]}

    def ask_something(self):
        """A client of its own; the first bytes it gets."""
        with socket.create_connection(("127.0.0.1", self.ports["web"][0]), PATIENCE) as client:
            client.sendall(REQUEST)
            return client.recv(100)


def test_clients_keep_coming(tmp_path, hosts):
    answers, failures, over = [], [], threading.Event()

    def come():
        while not over.is_set():
            try:
                answers.append(daemon.ask_something()[:15])
            except OSError as error:
                failures.append(error)

    with Changing(tmp_path, hosts, 3) as daemon:
        eventually(lambda: len(daemon.workers()) == 3)
        threads = [threading.Thread(target=come) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in (1, 3, 2, 3, 1):
                daemon.have(number)
                eventually(lambda number=number: len(daemon.workers()) == number)
        finally:
            over.set()
            for thread in threads:
                thread.join()
    assert not failures
    assert set(answers) == {b"HTTP/1.1 201 Cr"}
    assert len(answers) > 100


def test_clients_who_wait_while_all_is_full(tmp_path, hosts):
    """They wait in the kernel, at the sockets of both workers, and are served when others leave."""
    with Changing(tmp_path, hosts, 2, limits={"max_connections": 20}) as daemon, ExitStack() as stack:
        web = ("127.0.0.1", daemon.ports["web"][0])
        eventually(lambda: len(daemon.workers()) == 2)
        idle = [stack.enter_context(socket.create_connection(web, PATIENCE)) for _ in range(20)]
        eventually(lambda: sum(each["connections"] for each in daemon.get("/v1/status")["workers"]) == 20)
        waiting = [stack.enter_context(socket.create_connection(web, PATIENCE)) for _ in range(40)]
        for client in waiting:
            client.sendall(REQUEST)
        daemon.have(1)
        for client in idle:
            client.close()
        assert {client.recv(15) for client in waiting} == {b"HTTP/1.1 201 Cr"}
        for client in waiting:
            client.close()
        eventually(lambda: set(daemon.workers()) == {0})
        assert daemon.ask_something()[:15] == b"HTTP/1.1 201 Cr"
