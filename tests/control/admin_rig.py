"""A daemon with its admin API, and a client that speaks HTTP to it over either of its sockets."""

import http.client
import json
import re
import socket

import pytest
from authority import Authority
from described import check
from harness import Daemon, pool
from wire import PATIENCE, Backend, eventually, get

NOBODY = ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
NAMES = ("ide-01", "ide-02", "ide-03")
ADMIN = re.compile(r"the admin API answers on (\S+:\d+)$", re.MULTILINE)
HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""The example of RFC 6455, 1.3."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def error(self):
        return self.json["error"]


def ask(connection, method, path, body=None, **fields):
    """One request. ``body`` is sent as JSON unless it is bytes; ``fields`` are headers, with _ for -."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    try:
        connection.request(method, path, data, headers)
        answer = Answer(connection.getresponse())
        check(method, path, answer)
        return answer
    finally:
        connection.close()


class AdminDaemon(Daemon):
    """``hosts`` are addresses of backends, ``others`` names of further pools; ``keep`` gives it a state directory."""

    def __init__(
        self,
        folder,
        hosts=NOBODY,
        *,
        admin=None,
        keep=True,
        pool_keys=None,
        others=(),
        **sections,
    ):
        self.socket = str(folder / "admin.sock")
        self.folder = folder
        backends = pool(*hosts, **pool_keys or {})
        for name, backend in zip(NAMES, backends["backend"], strict=True):
            backend["name"] = name
        further = [pool(f"127.0.0.1:{n}", name=name) for n, name in enumerate(others, start=11)]
        if keep:
            sections["state_dir"] = str(folder / "state")
        super().__init__(folder, admin=admin or {"socket": self.socket}, pool=[backends, *further], **sections)

    @property
    def config(self):
        return str(self.folder / "balancer.toml")

    def ask(self, method, path, body=None, **fields):
        """A request over the Unix socket; paths that begin with a dot are those of the pool."""
        path = path.replace(".", "/v1/pools/ide", 1) if path.startswith("./") else path
        return ask(UnixConnection(self.socket), method, path, body, **fields)

    def get(self, path):
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def tcp(self, method, path, body=None, **fields):
        """The same over TCP."""
        host, _, port = ADMIN.search(str(self.stderr))[1].rpartition(":")
        return ask(http.client.HTTPConnection(host, int(port), timeout=PATIENCE), method, path, body, **fields)

    def backend(self, name):
        return next(each for each in self.get("./backends")["backends"] if each["name"] == name)

    def reset(self):
        """Take back what a test has changed."""
        for pin in self.get("./pins")["pins"]:
            prefix = "" if pin["prefix"] is None else f"?prefix={pin['prefix']}"
            assert self.ask("DELETE", f"./pins/{pin['digest']}{prefix}").status == 200
        for backend in self.get("./backends")["backends"]:
            if backend["state"] != "ready":
                assert self.ask("PUT", f"./backends/{backend['name']}/state", {"state": "ready"}).status == 200
            if backend["weight"] != 1 or backend["ramp"]:
                assert self.ask("PUT", f"./backends/{backend['name']}/weight", {"weight": 1}).status == 200

    def place(self, token):
        """Where a token goes now."""
        return self.ask("POST", "./explain", {"token": token}).json["placed"]

    def open_tunnel(self, hosts, token, ends):
        """A WebSocket of this user; the client's end and the host's are added to ``ends``."""
        client = self.connect()
        ends.append(client)
        client.send(get(f"/?token={token}", *HANDSHAKE))
        peer = hosts[NAMES.index(self.place(token))].accept()
        ends.append(peer)
        peer.head()
        peer.send(AGREED)
        assert client.head().status == 101


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon with three backends that nobody is at, shared by a module."""
    with AdminDaemon(tmp_path_factory.mktemp("admin")) as running:
        yield running


@pytest.fixture
def tunnels(daemon, hosts):
    """Opens a WebSocket for each token; their ends, the client's and the host's by turns."""
    ends = []

    def open_all(*tokens):
        for token in tokens:
            daemon.open_tunnel(hosts, token, ends)
        return ends

    yield open_all
    for end in ends:
        end.close()
    # The next test begins without them.
    eventually(lambda: not daemon.get("/v1/pools/ide")["tunnels"])


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def hosts():
    """Backends the tests play themselves."""
    backends = [Backend() for _ in NAMES]
    yield backends
    for backend in backends:
        backend.close()


@pytest.fixture(autouse=True)
def nothing_crashes(request):
    yield
    if "daemon" in request.fixturenames:
        request.getfixturevalue("daemon").check()
