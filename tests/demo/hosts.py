"""Demo hosts as processes of their own, and a client that speaks to them in bytes."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path

from websockets.sync.client import connect

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from wire import free_port


def free_address():
    return "127.0.0.1", free_port()


class HostProcess:
    """A demo host, reachable once constructed; a context manager that ends it."""

    def __init__(self, name, directory, address=None):
        self.address = address or free_address()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "balancer.demo.host", name, "{}:{}".format(*self.address), str(directory)],
            stderr=subprocess.PIPE,
            text=True,
        )
        while self.process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(self.address).close()
                return
        raise AssertionError(self.process.communicate()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.errors = self.process.communicate()[1]

    def get(self, target, method="GET"):
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, target)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    def send(self, data):
        """Everything the host answers to ``data`` until it closes."""
        with socket.create_connection(self.address, timeout=60) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def open(self, token):
        return Terminal("ws://{}:{}/ws?token={}".format(*self.address, token))


class Terminal:
    """A tab's WebSocket."""

    def __init__(self, url, **options):
        self._stack = contextlib.ExitStack()
        self.socket = self._stack.enter_context(connect(url, compression=None, **options))
        self.hello = self.next("hello")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def next(self, kind):
        """The next message of that kind; others are passed over."""
        while (message := json.loads(self.socket.recv(timeout=60)))["type"] != kind:
            pass
        return message

    def ask(self, line):
        self.socket.send(line)
        return self.next("answer")["text"]

    def wait_for_tabs(self, number):
        while len(tabs := self.next("home")["tabs"]) != number:
            pass
        return [each["tab"] for each in tabs]
