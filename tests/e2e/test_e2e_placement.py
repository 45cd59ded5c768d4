"""Users are where haproxy and nginx would have them, whatever it is they are told apart by: all three asked at once."""

import socket
import threading
from contextlib import suppress

import pytest
from harness import listener, pool
from others import Other
from wire import PATIENCE, Backend, Peer, answer, get

ADDRESSES = [f"192.0.2.{n}" for n in range(1, 13)] + [f"2001:db8::{n:x}:1" for n in range(10, 22)]
TOKENS = [f"secret-{n}" for n in range(12)]


def queries():
    return [get(f"/a?x&token={token}&token=other") for token in TOKENS]


def fields(*also):
    return [get("/", f"X-User: {token}") for token in TOKENS] + [get("/", *lines) for lines in also]


def hosts():
    return [
        get("/").replace(b"ide.example", name) for name in (b"a.example", b"A.example:80", b"b.example", b"c", b"d")
    ]


def cookies(*also):
    return [get("/", f"Cookie: a=b; sid={token}; c=d") for token in TOKENS] + [get("/", *lines) for lines in also]


def targets():
    return [get(f"/{n % 3}/{n % 4}/{n}?{n % 5}") for n in range(12)] + [
        get(each) for each in ("/", "/a?", "//b", "/?/")
    ]


LISTS = [["X-User: a, b"], ["X-User: a", "X-User: b"], ['X-User: "a, b", c'], ['X-User: \\"a, b']]
HEADER = {"source": "header", "header": "X-User"}
COOKIE = {"source": "cookie", "cookie": "sid"}

HAPROXY = {
    # name: (pool.token, balance, requests)
    "query": ({"duplicates": "first"}, "url_param token", queries()),
    "header": ({**HEADER, "duplicates": "first"}, "hdr(X-User)", fields(*LISTS)),
    "host": ({"source": "header", "header": "Host"}, "hdr(host)", hosts()),
    "cookie": ({**COOKIE, "duplicates": "last"}, "hash req.cook(sid)", cookies(["Cookie: sid=a; sid=b"])),
    "path": ({"source": "path"}, "uri", targets()),
    "folders": ({"source": "path", "depth": 2}, "uri depth 2", targets()),
    "bytes": ({"source": "uri", "leading_bytes": 5, "depth": 3}, "uri whole len 5 depth 3", targets()),
    "uri": ({"source": "uri"}, "uri whole", targets()),
}
SOURCES = {
    # name: (hash-type, pool.ring, mode)
    "default": ("consistent", {"hash_type": "consistent"}, "http"),
    "sdbm": ("consistent sdbm", {"hash_type": "consistent", "function": "sdbm"}, "http"),
    "map": ("map-based", {}, "http"),
    "tcp": ("consistent djb2 avalanche", {"hash_type": "consistent", "function": "djb2", "avalanche": True}, "tcp"),
}
NGINX = {
    # name: (pool.token, hash, requests)
    "query": ({"duplicates": "first"}, "$arg_token", queries()),
    "header": (HEADER, "$http_x_user", fields(["X-User: a, b"])),
    "cookie": ({**COOKIE, "duplicates": "first"}, "$cookie_sid", cookies(["Cookie: sid=a; sid=b"])),
    "uri": ({"source": "uri"}, "$request_uri", targets()),
    "address": ({"source": "client_ip"}, "$remote_addr", [get()]),
}
BEHIND = {"proxy_protocol": "accept", "trusted": ["127.0.0.0/8"]}


class Named(Backend):
    """A backend that answers every request with its own address, and closes."""

    def __init__(self):
        super().__init__()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        self.listener.settimeout(None)
        with suppress(OSError):
            while True:
                with Peer(self.listener.accept()[0]) as peer, suppress(OSError, AssertionError):
                    peer.request()
                    peer.send(answer(str(self).encode(), "Connection: close"))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self.listener.close()


@pytest.fixture(scope="module")
def named():
    made = [Named() for _ in range(5)]
    yield made
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def daemon(start, named):
    listeners, pools = [], []

    def add(name, token, mode="http", **ring):
        listeners.append(listener(name, pool=name, mode=mode, **BEHIND))
        pools.append(pool(*named, name=name, token=token, ring=ring))

    for name, (token, _, _) in HAPROXY.items():
        add(f"haproxy-{name}", token, algorithm="haproxy", hash_type="consistent")
    for name, (_, ring, mode) in SOURCES.items():
        add(f"source-{name}", {"source": "client_ip"}, mode, algorithm="haproxy", **ring)
    for name, (token, _, _) in NGINX.items():
        add(f"nginx-{name}", token, algorithm="nginx")
    return start(listeners=listeners, pool=pools, log={"access": "off"})


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory, named):
    folder = tmp_path_factory.mktemp("haproxy")
    wanted = {f"haproxy-{name}": (balance, "consistent", "http") for name, (_, balance, _) in HAPROXY.items()}
    wanted |= {f"source-{name}": ("source", kind, mode) for name, (kind, _, mode) in SOURCES.items()}
    config = ["global\n maxconn 100\ndefaults\n timeout connect 5s\n timeout client 5s\n timeout server 5s"]
    for name, (balance, kind, mode) in wanted.items():
        config += [f"listen {name}\n mode {mode}\n bind unix@{folder / name} accept-proxy"]
        config += [f" balance {balance}\n hash-type {kind}"]
        config += [f" server host-{n} {each}" for n, each in enumerate(named)]
    other = Other(folder, ["haproxy", "-db", "-f"], "\n".join([*config, ""]))
    yield other
    other.close()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory, named):
    folder = tmp_path_factory.mktemp("nginx")
    temporary = [f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    config = ["daemon off; master_process off; error_log stderr crit;", f"pid {folder / 'pid'};", "events {}", "http {"]
    config += ["access_log off; set_real_ip_from unix:; real_ip_header proxy_protocol;", *temporary]
    for name, (_, key, _) in NGINX.items():
        servers = "".join(f" server {each};" for each in named)
        config += [f"upstream u-{name} {{ hash {key} consistent;{servers} }}"]
        config += [f"server {{ listen unix:{folder / f'nginx-{name}'} proxy_protocol;"]
        config += [f" location / {{ proxy_pass http://u-{name}; proxy_set_header Host ide.example; }} }}"]
    other = Other(folder, ["nginx", "-e", "stderr", "-c"], "\n".join([*config, "}"]))
    yield other
    other.close()


def place(balancer, name, request, address="192.0.2.1"):
    """The address of the backend that gets a request of a connection of its own."""
    family, local = ("TCP6", "2001:db8::1") if ":" in address else ("TCP4", "192.0.2.1")
    with balancer.connect(name) as client:
        response = client.ask(f"PROXY {family} {address} {local} 1 2\r\n".encode() + request)
    assert response.status == 200, response.body
    return response.body


@pytest.mark.parametrize("name", HAPROXY)
def test_as_haproxy(daemon, haproxy, name):
    name, requests = f"haproxy-{name}", HAPROXY[name][2]
    places = [place(haproxy, name, request) for request in requests]
    assert [place(daemon, name, request) for request in requests] == places
    assert len(set(places)) > 2


@pytest.mark.parametrize("name", [f"source-{name}" for name in SOURCES])
def test_addresses_as_haproxy(daemon, haproxy, name):
    places = [place(haproxy, name, get(), address) for address in ADDRESSES]
    assert [place(daemon, name, get(), address) for address in ADDRESSES] == places
    assert len(set(places)) > 1  # without avalanche, neighbours share a host


@pytest.mark.parametrize("name", NGINX)
def test_as_nginx(daemon, nginx, name):
    requests = NGINX[name][2]
    asked = [(request, address) for request in requests for address in (ADDRESSES if name == "address" else ["::1"])]
    places = [place(nginx, f"nginx-{name}", *each) for each in asked]
    assert [place(daemon, f"nginx-{name}", *each) for each in asked] == places
    assert len(set(places)) > 2
