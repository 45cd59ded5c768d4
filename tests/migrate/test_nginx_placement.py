"""Imports beside a real nginx: a dozen kinds of configurations, 2,000 tokens each, and nobody moves."""

import contextlib
import random
import re
import sys
from pathlib import Path

import pytest
from haproxy_rig import TOKENS, ask
from proxies import free_ports, needs_nginx, nginx, running

from balancer.config.load import load
from balancer.config.plain import token_settings
from balancer.http.head import Request
from balancer.http.token import Place, extract
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Surroundings
from balancer.ring.build import build

pytestmark = needs_nginx

HOSTS = 40
DEAD = 40
"""The number of a host that nobody is at."""
LOCALHOST = Surroundings({}, lambda name: ["127.0.0.1"] if name == "localhost" else [])


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Forty hosts that answer with their port, and one nobody is at; the last port is for the balancer."""
    found = free_ports(HOSTS + 3)
    listens = "".join(f"listen 127.0.0.1:{port};\n" for port in found[:HOSTS])
    with nginx(
        tmp_path_factory.mktemp("hosts"),
        f'access_log off;\nkeepalive_requests 999999;\nserver {{\n{listens}return 200 "$server_port";\n}}',
        found[0],
    ):
        yield found


def servers(*numbers, **options):
    """``server`` lines; @3 is the third host."""
    return "\n".join(f"server 127.0.0.1:@{number}{options.get(f'o{number}', '')};" for number in numbers)


ONE = "keepalive_requests 99999; server {{ listen 127.0.0.1:@front; location / {{ proxy_pass http://ide; }} }}"
CHANCE = random.Random(3)
KINDS = {
    "plain": "upstream ide {{ hash $arg_token consistent; " + servers(0, 1, 2) + " }}" + ONE,
    "another parameter": 'upstream ide {{ hash "$arg_user" consistent; ' + servers(0, 1, 2, 3) + " }}" + ONE,
    "braces and names": "upstream ide {{ hash ${{arg_token}} consistent; server localhost:@0; server 127.0.0.1:@1; }}"
    + ONE,
    "weights": "upstream ide {{ hash $arg_token consistent; "
    + servers(0, 1, 2, 3, o0=" weight=5", o2=" weight=10 max_fails=3 fail_timeout=5s", o3=" max_conns=999")
    + " }}"
    + ONE,
    "weights changed": "upstream ide {{ hash $arg_token consistent; "
    + servers(0, 1, 2, 3, o0=" weight=1", o2=" weight=11", o3=" weight=2")
    + " }}"
    + ONE,
    "a server more": "upstream ide {{ hash $arg_token consistent; "
    + servers(0, 1, 2, 3, 4, o0=" weight=5")
    + " }}"
    + ONE,
    "one marked down": "upstream ide {{ hash $arg_token consistent; "
    + servers(0, 1, 2, 3, o1=" down", o3=" weight=3")
    + " keepalive 8; zone ide 64k; }}"
    + ONE,
    "one that nobody is at": "upstream ide {{ hash $arg_token consistent; " + servers(0, 1, DEAD, 2) + " }}" + ONE,
    "forty hosts": "upstream ide {{ hash $arg_token consistent; "
    + servers(*range(HOSTS), **{f"o{n}": f" weight={CHANCE.randrange(1, 20)}" for n in range(HOSTS)})
    + " }}"
    + ONE,
    "header": "upstream ide {{ hash $http_x_user consistent; " + servers(0, 1, 2) + " }}" + ONE,
    "cookie": "upstream ide {{ hash $cookie_sid consistent; " + servers(0, 1, 2) + " }}" + ONE,
    "uri": "upstream ide {{ hash $request_uri consistent; " + servers(0, 1, 2) + " }}" + ONE,
    "address": "upstream ide {{ hash $remote_addr consistent; " + servers(*range(9)) + " }}" + ONE,
    "included": "include ups*.conf; " + ONE,
}
INCLUDED = "# an upstream\nupstream ide{{hash\n$arg_token consistent;# as ever\n" + servers(0, 1, 5) + "}}"


def write(folder, text, ports, front):
    """nginx.conf with this in its http block, and what it includes."""

    def filled(text):
        text = text.replace("{{", "{").replace("}}", "}").replace("@front", str(front))
        return re.sub("@([0-9]+)", lambda match: str(ports[int(match[1])]), text)

    (folder / "ups-1.conf").write_text(filled(INCLUDED))
    return filled(text)


def sent(kind):
    """Targets of 2,000 users, and the header lines of each."""
    match kind:
        case "another parameter":
            return [f"/a/b?x=1&user={token}&user=other&token=no" for token in TOKENS], lambda _: ""
        case "header":
            return [f"/?n={token}" for token in TOKENS], lambda target: f"X-User: {target[4:]}\r\n"
        case "cookie":
            return [f"/?n={token}" for token in TOKENS], lambda target: f"Cookie: a=b; sid={target[4:]}\r\n"
        case _:
            return [f"/s?token={token}%41+&x=1" for token in TOKENS], lambda _: ""


def key(pool, target, headers):
    """What the imported pool hashes for a request."""
    request = Request(b"GET", target.encode(), 1)
    request.fields = headers.encode()
    return b"127.0.0.1" if pool.token.source == "client_ip" else extract(request, Place(token_settings(pool)))


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_moves(kind, ports, tmp_path):
    front = ports[-1]
    with nginx(tmp_path, write(tmp_path, "access_log off;" + KINDS[kind], ports, front), front):
        targets, headers = sent(kind)
        answers = ask(front, targets, headers)
    outcome = import_nginx([tmp_path / "nginx.conf"], LOCALHOST)
    ours = tmp_path / "balancer.toml"
    ours.write_text(outcome.text)
    (pool,) = load(ours, 0).pool
    ring = build(pool)
    ports_of = {backend.name: backend.address.port for backend in pool.backend}
    dead = {name for name, port in ports_of.items() if port == ports[DEAD]}
    expected = [
        ports_of[next(name for name in ring.order(key(pool, target, headers(target))) if name not in dead)]
        for target in targets
    ]
    assert answers == expected
    # Names, and so the ring, are those of random ports: one of forty hosts may have nobody.
    assert kind == "address" or len(set(answers)) > (len(pool.backend) - len(dead)) // 2


SITES = """
access_log off; keepalive_requests 99999;
map $host $by_host {{ hostnames; deep.map.example high; .map.example low; default low; }}
upstream low {{ hash $arg_token consistent; {low} }}
upstream high {{ hash $arg_token consistent; {high} }}
server {{ listen 127.0.0.1:@front default_server; server_name _;
  location / {{ proxy_pass http://low; }}
  location /high {{ proxy_pass http://high; }}
  location = /high/one {{ proxy_pass http://low; }}
  location /high/low/ {{ proxy_pass http://low; }}
}}
server {{ listen 127.0.0.1:@front; server_name *.ide.example; location / {{ proxy_pass http://high; }} }}
server {{ listen 127.0.0.1:@front; server_name a.ide.example .other.example;
  location / {{ proxy_pass http://low; }} location /x {{ proxy_pass http://high; }} }}
server {{ listen 127.0.0.1:@front; server_name .map.example; location / {{ proxy_pass http://$by_host; }} }}
""".format(low=servers(0, 1, 2), high=servers(20, 21, 22, o20=" weight=4"))
ASKED = [
    ("none.example", "/"),
    ("none.example", "/high"),
    ("none.example", "/high/one"),
    ("none.example", "/high/one/two"),
    ("none.example", "/high/low/x"),
    ("a.ide.example", "/"),
    ("b.ide.example", "/high/one"),
    ("c.b.ide.example", "/"),
    ("a.ide.example", "/xy"),
    ("other.example", "/"),
    ("www.other.example", "/x"),
    ("deep.map.example", "/"),
    ("map.example", "/"),
    ("more.map.example", "/"),
]


def test_servers_and_locations_beside_the_daemon(ports, tmp_path):
    """The daemon itself: every host and path leads to the same pool, and there to the same host."""
    theirs, ours = ports[-1], ports[-2]
    targets = {(host, path): [f"{path}?token={t}" for t in TOKENS[:60]] for host, path in ASKED}

    def answers(port):
        return {
            (host, path): ask(port, each, lambda _, host=host: f"Host: {host}\r\n")
            for (host, path), each in targets.items()
        }

    with nginx(tmp_path / "nginx", write(tmp_path, SITES, ports, theirs), theirs):
        expected = answers(theirs)
    (tmp_path / "ours").mkdir()
    conf = (tmp_path / "nginx" / "nginx.conf").read_text().replace(f":{theirs}", f":{ours}")
    (tmp_path / "ours" / "nginx.conf").write_text(conf)
    text = import_nginx([tmp_path / "ours" / "nginx.conf"], LOCALHOST).text
    text = text.replace("/run/balancer/", f"{tmp_path}/").replace("/var/lib/balancer", f"{tmp_path}/state")
    file = tmp_path / "balancer.toml"
    file.write_text(text.replace("127.0.0.1:9600", "127.0.0.1:0"))
    command = [sys.executable, "-m", "balancer", "--config", str(file)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(command, ours, Path(tmp_path / "log")))
        assert answers(ours) == expected
