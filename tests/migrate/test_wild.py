"""Files of our own making after the kinds that people have: each beside the real one, and beside the daemon.

The folder ``wild`` has them. A comment ``#>`` is a request. ``#! ASPECT, WORD`` says that an aspect of the answers
differs, and that a remark with this word in it says so; or with ``turns``, that only the order of hosts differs.
Aspects are ``status``, ``location``, ``place``, and the fields at the ``host`` and at the ``client``. Six are run by
default.
"""

import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest
from haproxy_rig import Authority, Haproxy, outcome
from proxies import nginx
from test_import_verb import Ours
from wire import PATIENCE

from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings
from bench.process import free_ports

WILD = Path(__file__).parent / "wild"
USUAL = (
    "cloud-ide.cfg",
    "matrix.cfg",
    "openshift-ingress.cfg",
    "docker-template.conf",
    "gitlab.conf",
    "cloud-ide.conf",
)
OWN = ("x-request-id", "date", "server", "content-length", "connection", "host", "accept-encoding", "transfer-encoding")
"""Fields of either daemon's own, and of this connection alone."""
ASPECTS = ("status", "location", "place", "host", "client")
PAGES = {"503.http": "HTTP/1.0 503 Down\r\nContent-Type: text/html\r\n\r\n<p>soon\n", "403.html": "<p>no\n"}
needs_both = pytest.mark.skipif(not (shutil.which("haproxy") and shutil.which("nginx")), reason="one is not installed")
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class Web(BaseHTTPRequestHandler):
    """Answers with its name and the fields that it got."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = [(name.lower(), value) for name, value in self.headers.items()]
        body = json.dumps({"place": self.server.name, "fields": fields}).encode()
        self.send_response(503 if self.path == "/down" and self.server.name == "h1" else 200)
        self.send_header("X-Powered-By", "tests")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class Raw(StreamRequestHandler):
    """Says its name, and reads until the client has left."""

    def handle(self):
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.name.encode())
            while self.request.recv(4096):
                pass


@contextlib.contextmanager
def hosts():
    """Hosts ``h1`` to ``h4`` that speak HTTP and ``r1`` to ``r3`` that do not; their ports by name."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in ("h1", "h2", "h3", "h4", "r1", "r2", "r3"):
            kind, handler = (ThreadingHTTPServer, Web) if name[0] == "h" else (ThreadingTCPServer, Raw)
            server = kind(("127.0.0.1", 0), handler)
            server.name, server.daemon_threads = name, True
            thread = threading.Thread(target=server.serve_forever, args=[0.01])
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            found[name] = server.server_address[1]
        yield found


class Asking:
    """Asks what a file's comments say, at an address."""

    def __init__(self, lines, ports, authority, pair):
        self._lines, self._ports, self._authority, self._pair = lines, ports, authority, pair

    def answers(self, address):
        """An answer for each line, by aspect."""
        return [self._answer(address, line) for line in self._lines]

    def _answer(self, address, line):
        kind, *words = line.split()
        if kind == "tcp":
            return self._tcp(address, *words)
        method, path, host, *fields = words
        port, _, way = kind.partition("+")
        connection = http.client.HTTPConnection(address, self._ports[port], timeout=PATIENCE)
        try:
            if way:
                connection.sock = self._secured(address, port, host, way)
            given = dict(each.split(":", 1) for each in fields)
            connection.request(method, path, headers={"Host": host, **given})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        found = {"status": response.status, "location": response.getheader("Location")}
        if response.getheader("X-Powered-By") or body.startswith(b'{"place"'):
            said = json.loads(body)
            found |= {"place": said["place"], "host": _others(said["fields"])}
            found["client"] = _others((name.lower(), value) for name, value in response.getheaders())
        return json.loads(json.dumps(found).replace(address, "127.0.0.1"))

    def _secured(self, address, port, host, way):
        context = self._authority.client()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if way == "certificate":
            context.load_cert_chain(self._pair["cert"], self._pair["key"])
        return context.wrap_socket(
            socket.create_connection((address, self._ports[port]), PATIENCE), server_hostname=host
        )

    def _tcp(self, address, port, name):
        with socket.create_connection((address, self._ports[port]), PATIENCE) as sock:
            sock.sendall(b"hello there\n" if name == "-" else self._authority.hello(name))
            try:
                return {"status": "open", "place": sock.recv(100).decode()}
            except ConnectionResetError:
                return {"status": "open", "place": ""}


def _others(fields):
    return sorted(list(pair) for pair in fields if pair[0] not in OWN)


def settled(ask, wanted=None):
    """What ``ask`` says in the end: what is wanted, or the same twice; checks need a moment."""
    before = None
    for _ in range(40):
        found = ask()
        if found == wanted if wanted is not None else found == before:
            return found
        before = found
        threading.Event().wait(0.1)  # nobody says when a check has its verdict
    return found


def differing(theirs, ours):
    """The aspects in which answers differ."""
    return {
        aspect
        for one, other in zip(theirs, ours, strict=True)
        for aspect in ASPECTS
        if one.get(aspect) != other.get(aspect)
    }


@contextlib.contextmanager
def real(file, text, folder, ports):
    """The real one with this text, and what our importer makes of its file."""
    first = next(iter(ports.values()))
    if file.suffix == ".cfg":
        source = folder / "haproxy.cfg"
        source.write_text(text)
        with Haproxy(folder, [source], first):
            yield lambda: outcome(text, folder)
        return
    inside, _, stream = text.partition("STREAM\n")
    module = f"load_module {STREAM};\n" if stream and STREAM.exists() else ""
    with nginx(folder / "nginx", inside, first, f"stream {{\n{stream}\n}}\n" if stream else "", module):
        yield lambda: import_nginx([folder / "nginx" / "nginx.conf"], Surroundings({}, lambda _: []))


def files():
    for file in sorted(WILD.iterdir()):
        usual = file.name in USUAL
        yield pytest.param(file, id=file.name, marks=() if usual else pytest.mark.site)


@needs_both
@pytest.mark.parametrize("file", list(files()))
def test_the_same_as_the_real_one_or_announced(file, tmp_path):
    text = file.read_text()
    if "STREAM\n" in text and not STREAM.exists():
        pytest.skip("nginx has no stream module")
    authority = Authority(tmp_path)
    pair = authority.issue("ide.example")
    client = authority.issue("alice")
    (tmp_path / "cert.pem").write_text(Path(pair["cert"]).read_text() + Path(pair["key"]).read_text())
    (tmp_path / "tenants.map").write_text("a.tenants.example one\nb.tenants.example two\n")
    challenges = tmp_path / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    (challenges / "tok").write_text("answer")
    for name, content in PAGES.items():
        (tmp_path / name).write_text(content)
    lines = re.findall(r"^#> (.*)$", text, re.MULTILINE)
    announced = dict(each.split(", ") for each in re.findall(r"^#! (.*)$", text, re.MULTILINE))
    names = [name for name in dict.fromkeys(re.findall(r"127\.0\.0\.1:@([a-z]+)\b", text)) if name]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    values = {"cert": tmp_path / "cert.pem", "ca": authority.file, "folder": tmp_path, **ports}
    with hosts() as behind:
        filled = re.sub(r"@([a-z]+[0-9]?)\b", lambda match: str((values | behind)[match[1]]), text)
        asking = Asking(lines, ports, authority, client)
        with real(file, filled, tmp_path, ports) as imported:
            theirs = settled(lambda: asking.answers("127.0.0.1"))
            found = imported()
        made = tmp_path / "balancer.toml"
        new = found.text.replace("/var/lib/balancer", str(tmp_path / "state"))
        new = new.replace("/run/balancer/admin.sock", str(tmp_path / "admin.sock")).replace(
            "127.0.0.1:9600", "127.0.0.2:0"
        )
        for port in ports.values():
            new = new.replace(f"127.0.0.1:{port}", f"127.0.0.2:{port}")
        made.write_text(re.sub(r"^workers = .*\n", "", new, flags=re.MULTILINE).replace("\n", "\nworkers = 1\n", 1))
        with Ours(made):
            ours = settled(lambda: asking.answers("127.0.0.2"), theirs)
    remarks = [f"{each.what} {each.message}" for each in found.remarks if each.effect is not Effect.NONE]
    for aspect in differing(theirs, ours):
        if announced.get(aspect) == "turns":
            assert sorted(each[aspect] for each in ours) == sorted(each[aspect] for each in theirs)
        else:
            assert aspect in announced, (theirs, ours)
            assert any(announced[aspect] in remark for remark in remarks), (aspect, remarks)


def test_there_are_forty():
    assert len(list(WILD.iterdir())) >= 40
