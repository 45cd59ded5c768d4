"""Header fields at the host and at the client, with the real one and with the daemon and the imported file."""

import http.client
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from haproxy_rig import Haproxy, needs_haproxy, outcome
from proxies import needs_nginx, nginx
from test_import_verb import Ours
from wire import PATIENCE

from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings
from bench.process import free_ports

DEFAULTS = "defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n"
FILES = {
    "nothing is said": """\
frontend www
  bind 127.0.0.1:@front
  default_backend a
backend a
  server a 127.0.0.1:@host
""",
    "the usual": """\
frontend www
  bind 127.0.0.1:@front
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  http-request add-header X-Way "%[src]:%[dst_port] 100%% %ci"
  http-request set-header X-Only-Tls yes if { ssl_fc }
  http-request set-header X-Only-Plain yes if !{ ssl_fc }
  http-request set-header X-Host %[req.hdr(Host)]
  http-request set-header X-Agent "a %[req.fhdr(User-Agent)]"
  http-request del-header X-Debug
  http-response set-header Strict-Transport-Security "max-age=16000000; includeSubDomains; preload;"
  http-response del-header X-Powered-By
  default_backend a
backend a
  option forwardfor
  http-request add-header X-Forwarded-Proto http
  http-response add-header X-Frame-Options DENY
  http-response set-header Strict-Transport-Security max-age=1
  server a 127.0.0.1:@host
""",
    "a backend replaces X-Forwarded-For": """\
frontend www
  bind 127.0.0.1:@front
  option forwardfor
  default_backend a
backend a
  http-request set-header X-Forwarded-For 192.0.2.1
  http-request del-header X-Agent
  http-request add-header X-Agent mine
  server a 127.0.0.1:@host
""",
    "another name": """\
listen www
  bind 127.0.0.1:@front
  option forwardfor header X-Client
  http-request del-header X-Forwarded-For
  http-request set-header X-A 1
  http-request add-header X-A 2
  http-response set-header X-A {not-a-fact}
  server a 127.0.0.1:@host
""",
}
CLAIMS = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "ftp", "X-Forwarded-Host": "x.example", "X-Real-IP": "7"}
NGINX = {
    "nothing is said but Host": "proxy_set_header Host $http_host;",
    "the usual": """
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Agent "a ${http_user_agent}";
      proxy_set_header X-Debug "";
      proxy_hide_header X-Powered-By;
      add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;
      add_header X-Origin $http_x_debug always;
""",
    "inherited": "proxy_set_header Host $http_host; add_header X-C d;",
}
REQUESTS = [{}, CLAIMS, {"User-Agent": "test", "X-Debug": "1", "X-Agent": "theirs", "X-Only-Tls": "forged"}]
OWN = ("x-request-id", "date", "server", "content-length", "connection")
"""Fields of either daemon's own, and of this connection alone."""


class Host(BaseHTTPRequestHandler):
    """Answers with the fields it got."""

    def do_GET(self):
        body = json.dumps([(name.lower(), value) for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("X-Powered-By", "tests")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def host():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield str(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def seen(address, port):
    """The fields that the host and the client got, for each request."""
    found = []
    for fields in REQUESTS:
        connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
        connection.request("GET", "/", headers={"Host": "ide.example", **fields})
        response = connection.getresponse()
        got = {"host": json.loads(response.read()), "client": [(k.lower(), v) for k, v in response.getheaders()]}
        found.append({end: sorted(pair for pair in pairs if pair[0] not in OWN) for end, pairs in got.items()})
        connection.close()
    return json.loads(json.dumps(found).replace(address, "127.0.0.1"))


@needs_haproxy
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_the_same_fields(text, tmp_path):
    (front,) = free_ports(1)
    source, made = tmp_path / "haproxy.cfg", tmp_path / "balancer.toml"
    with host() as port:
        source.write_text((DEFAULTS + text.replace("@host", port)).replace("@front", str(front)))
        found = outcome(source.read_text(), tmp_path)
        assert all(each.effect is Effect.CHANGED for each in found.remarks)
        new = found.text.replace("/var/lib/balancer", str(tmp_path / "state"))
        new = new.replace("/run/balancer/admin.sock", str(tmp_path / "admin.sock"))
        new = new.replace("127.0.0.1:9600", "127.0.0.2:0")
        made.write_text("workers = 1\n" + new.replace(f"127.0.0.1:{front}", f"127.0.0.2:{front}"))
        with Haproxy(tmp_path, [source], front):
            theirs = seen("127.0.0.1", front)
        with Ours(made):
            ours = seen("127.0.0.2", front)
    assert ours == theirs


@needs_nginx
@pytest.mark.parametrize("text", NGINX.values(), ids=NGINX)
def test_the_same_fields_as_nginx(text, tmp_path):
    (front,) = free_ports(1)
    with host() as port:
        server = f"server {{ listen 127.0.0.1:{front}; add_header X-A b always; proxy_set_header X-B c;\n"
        inside = f"{server}location / {{ proxy_pass http://127.0.0.1:{port}; {text} }} }}"
        with nginx(tmp_path / "nginx", inside, front):
            theirs = seen("127.0.0.1", front)
        found = import_nginx([tmp_path / "nginx" / "nginx.conf"], Surroundings({}, lambda _: ()))
        new = found.text.replace("/var/lib/balancer", str(tmp_path / "state"))
        new = new.replace("/run/balancer/admin.sock", str(tmp_path / "admin.sock"))
        made = tmp_path / "balancer.toml"
        made.write_text(
            new.replace("127.0.0.1:9600", "127.0.0.2:0").replace("127.0.0.1:" + str(front), f"127.0.0.2:{front}")
        )
        with Ours(made):
            ours = seen("127.0.0.2", front)
    assert ours == theirs
