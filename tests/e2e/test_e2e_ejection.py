"""Passive health on the real daemon: hosts that fail their users in every way, and who gets the blame for it."""

import contextlib
import itertools
import re
import socket
import threading

import pytest
from harness import Daemon, listener, pool
from wire import Peer, eventually, get, nobody

from balancer.config.pool import BackendConfig, PoolConfig
from balancer.ring.build import build

PASSIVE = {"mode": "on", "consecutive": 3, "failure_rate": 0.0, "clients": 2}
POOLS = {
    "reset": {},
    "close": {},
    "hang": {},
    "5xx": {"outcomes": ["5xx"]},
    "dry": {"mode": "dry_run"},
    "tcp": {},
    "connect": {"consecutive": 1, "clients": 1},
    "framed": {},
    "left": {"consecutive": 1, "clients": 1},
    "forgiven": {},
}
LASTING = {"ejection_time": "1h", "max_ejection_time": "1h"}
RESET = b"\1\0\0\0\0\0\0\0"


class Host:
    """Accepts everything, and answers each connection with its address, or in another ``way``."""

    def __init__(self):
        self.way = "answer"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def __str__(self):
        return "{}:{}".format(*self.listener.getsockname())

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                sock.settimeout(5)  # a host gives up by itself
                with sock, contextlib.suppress(OSError):
                    self._serve(sock)

    def _serve(self, sock):
        if self.way == "close":
            return
        sock.recv(65536)
        if self.way == "hang":
            sock.recv(65536)  # until the other side has had enough
            return
        if self.way == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        status, said = (b"500 Oh", b"") if self.way == "5xx" else (b"200 OK", str(self).encode())
        fields = b"Content-Length: %d\r\nConnection: close" % len(said)
        sock.sendall(b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, fields, said))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


class Rig:
    """A daemon with a pool for each way to fail; its first host will fail, the second is well."""

    def __init__(self, folder, stack):
        self.hosts = {}
        pools = []
        for name, passive in POOLS.items():
            self.hosts[name] = Host(), Host()
            for host in self.hosts[name]:
                stack.callback(host.close)
            addresses, keys = self.hosts[name], {"retry": {"count": 0}}  # clients are to see what the host does
            if name == "connect":
                addresses, keys = (stack.enter_context(nobody()), addresses[1]), {}
            health = {"passive": {**PASSIVE, **passive}, **LASTING}
            pools.append(pool(*addresses, name=name, health=health, **keys))
        fronts = [listener(name, pool=name, mode="tcp" if name == "tcp" else "http") for name in POOLS]
        self.daemon = stack.enter_context(Daemon(folder, listeners=fronts, pool=pools, timeouts={"response": "200ms"}))
        members = tuple(BackendConfig(name=f"host-{n}", address=f"127.0.0.1:{n + 1}") for n in range(2))
        self.ring = build(PoolConfig(name="any", backend=members))
        self._numbers = itertools.count()

    def connect(self, name, address="127.0.0.1"):
        return Peer(socket.create_connection(("127.0.0.1", self.daemon.ports[name][0]), 5, (address, 0)))

    def owned(self):
        """A token that belongs to the host that will fail."""
        tokens = (f"secret-{n}" for n in self._numbers)
        return next(token for token in tokens if self.ring.owner(token.encode()) == "host-0")

    def ask(self, name, client=1):
        """A request of a user of that host, from an address of loopback: status and who answered."""
        with self.connect(name, f"127.0.0.{client}") as peer:
            response = peer.ask(get(f"/?token={self.owned()}"))
            return response.status, response.body.decode()

    def said(self, name):
        """What the daemon has said of the host that fails."""
        return re.findall(rf"backend host-0 of pool {name}: (.*)", str(self.daemon.stderr))

    def fails(self, name, status):
        """Its users are failed until the daemon says something, which is the answer."""
        for n in range(5000):
            answered = self.ask(name, 1 + n % 8)[0]
            if answered != status:  # ejected, so somebody else has answered, and the word of it is on its way
                return eventually(lambda: self.said(name))[0]
            if said := self.said(name):
                return said[0]
        raise AssertionError("nobody notices")


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield Rig(tmp_path_factory.mktemp("ejection"), stack)


def test_one_client_cannot_eject_a_host_nor_can_failures_between_answers(rig):
    """First of all tests, so that those after it show that there was time enough to be ejected."""
    rig.hosts["framed"][0].way = rig.hosts["forgiven"][0].way = "reset"
    for n in range(30):
        assert rig.ask("framed")[0] == 502
        if n % 10 == 9:
            rig.hosts["forgiven"][0].way = "answer"
            assert rig.ask("forgiven", n + 1)[0] == 200
            rig.hosts["forgiven"][0].way = "reset"


def test_clients_that_leave_are_no_failures(rig):
    rig.hosts["left"][0].way = "hang"
    peer = rig.connect("left")
    peer.send(get(f"/?token={rig.owned()}"))
    peer.reset()
    assert rig.daemon.logged(listener="left", status=499)["by"] == "client"


@pytest.mark.parametrize(("way", "status"), [("reset", 502), ("close", 502), ("hang", 504), ("5xx", 500)])
def test_a_host_that_fails_its_users_is_left(rig, way, status):
    bad, good = rig.hosts[way]
    assert rig.ask(way) == (200, str(bad))
    bad.way = way
    assert re.fullmatch(r"ejected: \d+ failures in a row; no new users for 3600 s", rig.fails(way, status))
    eventually(lambda: rig.ask(way) == (200, str(good)))  # it is said, and then told to the workers


def test_a_dry_run_leaves_everything_as_it_is(rig):
    bad, _ = rig.hosts["dry"]
    bad.way = "reset"
    assert rig.fails("dry", 502).startswith("would be ejected, were it not for the dry run: ")
    assert rig.ask("dry")[0] == 502


def test_one_that_does_not_accept(rig):
    assert rig.ask("connect") == (200, str(rig.hosts["connect"][1]))
    rig.daemon.stderr.wait_for(lambda _: rig.said("connect"))
    assert rig.said("connect") == ["ejected: 1 failures in a row; no new users for 3600 s"]


def test_without_http_a_connection_that_brings_nothing_is_a_failure(rig):
    bad, good = rig.hosts["tcp"]
    addresses = [f"127.0.0.{n}" for n in range(1, 30)]
    owned = itertools.cycle(each for each in addresses if rig.ring.owner(each.encode()) == "host-0")
    bad.way = "close"
    for address in itertools.islice(owned, 5000):
        with contextlib.suppress(ConnectionResetError), rig.connect("tcp", address) as peer:
            peer.rest()
        if rig.said("tcp"):
            break
    assert "failures in a row" in rig.said("tcp")[0]

    def served_by_the_other():
        with contextlib.suppress(ConnectionResetError), rig.connect("tcp", next(owned)) as peer:
            peer.send(b"anything")
            return peer.rest().endswith(str(good).encode())

    eventually(served_by_the_other)


def test_those_who_were_not_to_be_ejected_were_not(rig):
    assert rig.ask("framed")[0] == rig.ask("forgiven")[0] == 502
    assert rig.said("framed") == rig.said("forgiven") == rig.said("left") == []
