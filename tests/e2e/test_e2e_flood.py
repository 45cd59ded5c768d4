"""A flood of connection attempts: operators are answered, tunnels lose nothing, and afterwards all is as before.

``pytest -m soak tests/e2e/test_e2e_flood.py`` is the flood of 20,000; the suite has a smaller one.
"""

import contextlib
import errno
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import Daemon, listener, pool
from scrape import metric
from wire import PATIENCE, Backend, Peer, end_with_parent, get

TUNNELS = 20
AT_ONCE = 1500
"""Attempts under way at the same time; the descriptors of the test are the limit."""
WINNERS = 300
"""Connections the daemon takes beside the tunnels."""


class Pinger:
    """Asks the admin socket all the time, from a process of its own; ``took`` is how long each answer took."""

    def __init__(self, control):
        command = [sys.executable, __file__, str(control)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent
        )
        assert self._process.stdout.readline() == "asking\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.took = sorted(json.loads(self._process.communicate()[0] or "[]"))


def ask_until_told_to_stop(control):
    took = []
    print("asking", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        began = time.monotonic()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(control)
            assert Peer(sock).ask(get("/healthz", "Connection: close")).status == 200
        took.append(time.monotonic() - began)
    print(json.dumps(took))


class Tunnels:
    """Tunnels of which every byte is looked at: each side sends numbers and must get all of them, in order."""

    def __init__(self, daemon, backend):
        self.pairs = []
        for number in range(TUNNELS):
            client = daemon.connect("tunnels", host="127.0.0.1")
            client.send(b"%08d" % number)
            peer = backend.accept()
            assert peer.exactly(8) == b"%08d" % number
            self.pairs.append((client, peer))
        self.turns = 0

    def turn(self):
        """One number both ways through each of them."""
        self.turns += 1
        for client, peer in self.pairs:
            client.send(b"%08d" % self.turns)
            peer.send(b"%08d" % -self.turns)
        for client, peer in self.pairs:
            assert peer.exactly(8) == b"%08d" % self.turns
            assert client.exactly(8) == b"%08d" % -self.turns

    def close(self):
        for client, peer in self.pairs:
            client.close()
            peer.close()


def flood(port, attempts, turn):
    """So many attempts, each with half a request, some that stay and most that leave; ``turn`` is called on the way."""
    poll = select.epoll()
    open_, made, refused = {}, 0, 0
    try:
        while made < attempts or open_:
            while made < attempts and len(open_) < AT_ONCE:
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                sock.bind((f"127.1.{made % 200}.{made // 200 % 200 + 1}", 0))  # as many clients
                outcome = sock.connect_ex(("127.0.0.1", port))
                assert outcome in (0, errno.EINPROGRESS), os.strerror(outcome)
                open_[sock.fileno()] = sock
                poll.register(sock, select.EPOLLOUT | select.EPOLLRDHUP)
                made += 1
                if made % 100 == 0:
                    turn()
            for number, event in poll.poll(0.2):
                sock = open_.pop(number)
                with contextlib.suppress(OSError):
                    sock.send(b"GET /?token=secret-1 HTTP/1.1\r\nHost:")
                refused += bool(event & (select.EPOLLRDHUP | select.EPOLLHUP))
                sock.close()
            turn()
    finally:
        poll.close()
        for sock in open_.values():
            sock.close()
    return made


def descriptors(daemon):
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


@contextlib.contextmanager
def flooded(tmp_path):
    control = tmp_path / "admin.sock"
    with (
        contextlib.closing(Backend()) as backend,
        Daemon(
            tmp_path,
            listeners=[listener("tunnels", mode="tcp"), listener("web", max_connections=WINNERS)],
            pool=[pool(backend)],
            admin={"socket": str(control)},
            limits={"max_connections_per_client": 100, "client_rate": "1000/s"},
            log={"access": "off"},
        ) as daemon,
    ):
        yield daemon, backend, control


def go(tmp_path, attempts, slowest):
    with flooded(tmp_path) as (daemon, backend, control):
        tunnels = Tunnels(daemon, backend)
        try:
            tunnels.turn()
            before = descriptors(daemon)
            with daemon.bounded(64 << 20), Pinger(control) as pinger:
                assert flood(daemon.ports["web"][0], attempts, tunnels.turn) == attempts
                tunnels.turn()
            assert tunnels.turns > attempts // 100
            took = pinger.took
            print(
                f"{attempts} attempts, {len(took)} answers of the admin socket: "
                f"median {statistics.median(took):.4f} s, 99 % within {took[len(took) * 99 // 100]:.4f} s"
            )
            assert took[len(took) * 99 // 100] < slowest, "answers were late"
            deadline = time.monotonic() + PATIENCE
            while metric(control, "balancer_listener_open_connections", listener="web"):
                assert time.monotonic() < deadline, "connections were left behind"
            assert descriptors(daemon) <= before + 2
            tunnels.turn()
        finally:
            tunnels.close()


def test_a_small_flood(tmp_path):
    go(tmp_path, 2000, slowest=PATIENCE)  # how fast is for the large one: this machine is busy with other tests


@pytest.mark.soak
def test_a_flood_of_20000(tmp_path):
    go(tmp_path, 20_000, slowest=0.1)


if __name__ == "__main__":
    ask_until_told_to_stop(sys.argv[1])
