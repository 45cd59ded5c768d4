"""The same requests to the real haproxy and to the daemon with the imported file: status, Location and host."""

import http.client

import pytest
from haproxy_rig import Haproxy, Ports, hosts, needs_haproxy, outcome
from test_import_verb import Ours
from wire import PATIENCE

DEFAULTS = "defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n"
FILES = {
    "closed paths": """\
frontend www
  bind 127.0.0.1:@front
  acl office src 10.0.0.0/8
  acl admin path_beg /admin /internal
  http-request deny if admin !office
  http-request deny deny_status 405 unless METH_GET or METH_POST
  default_backend a
""",
    "an allow list, and an exception in front of it": """\
frontend www
  bind 127.0.0.1:@front
  http-request allow if { path_beg /open }
  http-request allow if { src 127.0.0.0/8 } { hdr(host) -i ide.example }
  http-request deny deny_status 401
  default_backend a
""",
    "rules of backends and routes on tokens": """\
frontend www
  bind 127.0.0.1:@front
  use_backend b if { url_param(token) -m found }
  use_backend none if { path /none }
  default_backend a
backend none
""",
    "redirects and answers": """\
frontend www
  bind 127.0.0.1:@front
  monitor-uri /up
  redirect location /new code 301 if { path /old }
  http-request redirect prefix https://b.example/x code 307 if { hdr(host) -i b.example }
  http-request return status 404 content-type text/plain string gone if { path_beg /gone }
  use_backend b if { path_beg /admin }
""",
    "statistics": """\
frontend www
  bind 127.0.0.1:@front
  use_backend b if !{ path_beg /open }
  default_backend a
""",
    "hosts": """\
frontend www
  bind 127.0.0.1:@front
  use_backend b if { hdr_end(host) -i .ide.example } !{ path_beg /open }
  use_backend a if { hdr(host) -i ide.example b.example }
""",
}
BACKENDS = """\
backend a
  server a 127.0.0.1:@a
backend b
  http-request deny if { path_beg /admin } METH_POST
  server b 127.0.0.1:@b
"""
REQUESTS = [
    (method, path, host)
    for method in ("GET", "POST", "PUT")
    for path in ("/", "/admin/x", "/open/x", "/old", "/none", "/up", "/gone/1", "/?token=1", "/admin?token=2")
    for host in ("ide.example", "x.ide.example", "b.example", "other.example")
]


def answers(address, ports):
    """Status, Location and the host that answered, for each request."""
    found = []
    for method, path, host in REQUESTS:
        connection = http.client.HTTPConnection(address, ports["front"], timeout=PATIENCE)
        connection.request(method, path, headers={"Host": host})
        response = connection.getresponse()
        body = response.read()
        place = ports.names[int(body)] if response.status == 200 and body.isdigit() else ""
        found.append((method, path, host, response.status, response.getheader("Location"), place))
        connection.close()
    return found


@needs_haproxy
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_the_same_answers(text, tmp_path):
    ports = Ports(["front", "admin", "a", "b"])
    source, made = tmp_path / "haproxy.cfg", tmp_path / "balancer.toml"
    source.write_text(ports.fill(DEFAULTS + text + BACKENDS))
    new = outcome(source.read_text(), tmp_path).text.replace("/var/lib/balancer", str(tmp_path / "state"))
    new = new.replace("/run/balancer/admin.sock", str(tmp_path / "admin.sock"))
    new = new.replace("127.0.0.1:9600", ports.fill("127.0.0.2:@admin"))
    # On another address: nothing has to be released, and no connection of another test can take the port.
    made.write_text("workers = 1\n" + new.replace(*map(ports.fill, ("127.0.0.1:@front", "127.0.0.2:@front"))))
    with hosts(tmp_path / "hosts", ports, ["a", "b"]):
        with Haproxy(tmp_path, [source], ports["front"]):
            theirs = answers("127.0.0.1", ports)
        with Ours(made):
            ours = answers("127.0.0.2", ports)
    ports.close()
    assert ours == theirs
