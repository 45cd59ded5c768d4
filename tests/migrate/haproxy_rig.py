"""A real haproxy beside the library: started on a configuration, asked where tokens go, told to change its mind."""

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from authority import Authority  # noqa: F401
from wire import PATIENCE, end_with_parent

from balancer.config.load import check
from balancer.migrate.haproxy.importer import import_haproxy
from balancer.migrate.outcome import Surroundings
from bench.process import free_ports

HAPROXY = shutil.which("haproxy")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
TOKENS = [f"{n * 2654435761 % 2**32:08x}{n:x}" for n in range(2000)]
_BODY = re.compile(rb"content-length: ([0-9]+)\r\n(?:[^\r]+\r\n)*\r\n", re.IGNORECASE)


def reserved():
    """A port nobody else gets while the socket is open; haproxy and the daemon may bind it beside us (SO_REUSEPORT).

    It is none of those that the system gives to clients, which could have it on another loopback address.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", *free_ports(1)))
    return sock


class Ports:
    """Ports by name, reserved as long as the object is open; in texts they stand as ``@name``."""

    def __init__(self, names):
        self._sockets = {name: reserved() for name in names}
        self._numbers = {name: sock.getsockname()[1] for name, sock in self._sockets.items()}
        self.names = {number: name for name, number in self._numbers.items()}

    def __getitem__(self, name):
        return self._numbers[name]

    def fill(self, text):
        return re.sub(r"@([a-z]+[0-9]*)\b", lambda match: str(self[match[1]]), text)

    def release(self, *names):
        """Leave ports to a daemon that wants an address to itself."""
        for name in names:
            self._sockets[name].close()

    def close(self):
        self.release(*self._sockets)


class Haproxy:
    """``haproxy -f FILES``, a context manager; it accepts inside."""

    def __init__(self, folder, files, port, environment=None):
        self._admin = folder / "haproxy.sock"
        self._log = folder / "haproxy.log"
        extra = folder / "admin.cfg"
        extra.write_text(f"global\n  nbthread 1\n  stats socket {self._admin} level admin\n")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [HAPROXY, "-db", "-f", str(extra), *(word for file in files for word in ("-f", str(file)))],
                stdout=log,
                stderr=log,
                env=environment,
                preexec_fn=end_with_parent,
            )
        self._port = port

    def __enter__(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), PATIENCE).close()
                self.command("show version")
                return self
            except (ConnectionRefusedError, FileNotFoundError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise AssertionError(f"haproxy does not accept:\n{self._log.read_text()}") from None
                time.sleep(0.005)  # it has no way to tell

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def command(self, text):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._admin))
            sock.sendall(f"{text}\n".encode())
            with sock.makefile() as answer:
                return answer.read()


HOSTS = """
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend hosts
{binds}
  http-request return status 200 content-type text/plain lf-string %[dst_port]
"""


@contextlib.contextmanager
def hosts(folder, ports, names):
    """Hosts that answer with their port, each a listener of one haproxy."""
    folder.mkdir()
    file = folder / "hosts.cfg"
    file.write_text(HOSTS.format(binds="\n".join(f"  bind 127.0.0.1:{ports[name]}" for name in names)))
    with Haproxy(folder, [file], ports[names[-1]]) as running:
        yield running


def ask(port, targets, headers=lambda _: "", tls=None, preface=b""):
    """The bodies of the answers to GET requests, all on one connection, sent ahead of the answers."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
        if tls is not None:
            sock = stack.enter_context(tls.wrap_socket(sock, server_hostname="ide.example"))
        bodies = []
        for start in range(0, len(targets), 40):
            some = targets[start : start + 40]
            sock.sendall(preface + b"".join(_request(target, headers(target)) for target in some))
            preface = b""
            data = b""
            wanted = len(bodies) + len(some)
            while len(bodies) < wanted:
                more = sock.recv(65536)
                assert more, f"the connection ended after {len(bodies)} answers: {data[:200]}"
                data += more
                while (head := _BODY.search(data)) and len(data) >= head.end() + int(head[1]):
                    end = head.end() + int(head[1])
                    assert b" 200 " in data[:15], data[:200]
                    bodies.append(data[head.end() : end])
                    data = data[end:]
        return [int(body) for body in bodies]


def _request(target, headers):
    host = "" if "Host:" in headers else "Host: ide.example\r\n"
    return f"GET {target} HTTP/1.1\r\n{host}{headers}\r\n".encode()


def trusting():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


NAMES = {"hosts.example": ["192.0.2.1", "192.0.2.2"], "one.example": ["2001:db8::1"]}
BASE = """\
defaults
  mode http
frontend www
  bind 127.0.0.1:80
  default_backend ide
backend ide
  balance url_param token
  server a 192.0.2.1:80
"""


def outcome(text, folder, environment=None, *, allow_open=False):
    file = folder / "haproxy.cfg"
    file.write_text(text)
    return import_haproxy([file], Surroundings(environment or {}, lambda name: NAMES.get(name, []), allow_open))


def tables(found):
    """The listeners of an outcome."""
    return tomllib.loads(found.text)["listener"]


def made(text, folder, **environment):
    """The new configuration as a mapping, and the lines that were told, with what they are about.

    That forwarding fields change is told of every frontend, and left out here.
    """
    found = outcome(text, folder, environment)
    result = folder / "made.toml"
    result.write_text(found.text)
    assert check(result, time.time()).problems == []
    told = {remark.line: remark.what for remark in found.remarks if remark.what != "X-Forwarded-*"}
    return tomllib.loads(found.text), told
