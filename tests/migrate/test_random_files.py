"""Random files from the grammars of haproxy and nginx: the real one and the importer agree on what is valid.

What the real one rejects is refused, or a remark says that the line was left out. What is valid routes, denies and
redirects alike: the real one is asked over HTTP, our rules in process.
"""

import http.client
import subprocess

import pytest
from haproxy_rig import HAPROXY, Haproxy, needs_haproxy, outcome
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from proxies import NGINX_PATHS, needs_nginx, nginx
from wire import PATIENCE

from balancer.config.contents import NamedFiles
from balancer.config.load import check
from balancer.config.plain import worker_settings
from balancer.config.settings import Answer, Deny, Redirect, ToPool
from balancer.errors import ConfigError, ProxyError
from balancer.http.head import parse_request
from balancer.http.rules import Rules
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings
from balancer.proxy.rule_answers import rule_answer
from bench.process import free_ports

pytestmark = pytest.mark.site
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PATHS = ("/", "/a", "/a/b", "/admin", "/b?t=1", "/c?u&t")
HOSTS = ("a.example", "x.a.example", "b.example", "c.example")
METHODS = ("GET", "POST", "DELETE")
REQUESTS = [(method, path, host) for method in METHODS for path in PATHS for host in HOSTS]

# ---------------------------------------------------------------- haproxy

criteria = st.sampled_from(
    [
        "path /a",
        "path /a /b",
        "path_beg /a",
        "path_beg /admin /b",
        "hdr(host) -i a.example",
        "hdr(host) -i a.example b.example",
        "hdr_end(host) -i .a.example",
        "method POST",
        "method POST DELETE",
        "url_param(t) -m found",
        "src 10.0.0.0/8",
        "src 127.0.0.0/8",
        "hdr(x-y) -m found",
        "always_true",
    ]
)
BROKEN = ("path", "hdr_beg(host", "no_such_fetch x", "src 300.0.0.0/8", "method")
"""Criteria that haproxy rejects."""


@st.composite
def conditions(draw, names):
    """An ``if`` or ``unless``, of named and of anonymous ACLs."""
    terms = []
    for number in range(draw(st.integers(0, 3))):
        negated = draw(st.sampled_from(["", "!"]))
        named = names and draw(st.booleans())
        terms.append(f"{negated}{draw(st.sampled_from(names))}" if named else f"{negated}{{ {draw(criteria)} }}")
        if number and draw(st.booleans()):
            terms.insert(-1, "||")
    return f" {draw(st.sampled_from(['if', 'unless']))} {' '.join(terms)}" if terms else ""


@st.composite
def haproxy_files(draw):
    names = [f"acl{number}" for number in range(draw(st.integers(0, 3)))]
    lines = [f"acl {name} {draw(criteria)}" for name in names for _ in range(draw(st.integers(1, 2)))]
    for _ in range(draw(st.integers(0, 4))):
        action = draw(
            st.sampled_from(
                [
                    "http-request deny",
                    "http-request deny deny_status 404",
                    "http-request allow",
                    "http-request return status 200 content-type text/plain string own",
                    "http-request redirect location /new code 301",
                    "http-request redirect prefix http://b.example",
                    "redirect scheme https code 307",
                ]
            )
        )
        lines.append(action + draw(conditions(names)))
    # haproxy warns of rules of another kind behind these, and applies them in its own order.
    lines.sort(key=lambda line: (not line.startswith("acl"), not line.startswith("http-request")))
    lines += [
        f"use_backend {draw(st.sampled_from(['one', 'two']))}" + (draw(conditions(names)) or " if TRUE")
        for _ in range(draw(st.integers(0, 3)))
    ]
    if draw(st.booleans()):
        lines.append("default_backend two")
    fault = draw(st.integers(0, 9))
    if fault == 0:
        lines.append(f"use_backend one if {{ {draw(st.sampled_from(BROKEN))} }}")
    elif fault == 1:
        lines.append(draw(st.sampled_from(["use_backend none", "http-request deny if nobody", "no_such_keyword"])))
    return "\n".join(f"  {line}" for line in lines)


HAPROXY_FILE = """\
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 2s
frontend www
  bind 127.0.0.1:{front}
{lines}
backend one
  server a 127.0.0.1:{host}
backend two
  http-request set-header X-Pool two
  server b 127.0.0.1:{host}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host that answers with the pool that the request came through."""
    (port,) = free_ports(1)
    text = f"server {{ listen 127.0.0.1:{port}; add_header X-Pool $http_x_pool; return 200 host; }}"
    with nginx(tmp_path_factory.mktemp("host"), f"access_log off;\n{text}", port):
        yield port


def attempted(do):
    """What it returns, or None and why the file was refused."""
    try:
        return do(), ""
    except ConfigError as error:
        return None, str(error)


def asked(port):
    """Status, Location and pool of each request."""
    found = []
    for method, path, name in REQUESTS:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request(method, path, headers={"Host": name})
        response = connection.getresponse()
        mark = response.getheader("X-Pool") or ""
        pool = (mark or "one") if response.read() == b"host" else ""
        # nginx makes the targets of its own redirects absolute.
        location = response.getheader("Location")
        location = location.replace(f"http://{name.lower().partition(':')[0]}:{port}/", "/") if location else None
        found.append((response.status, location, pool))
        connection.close()
    return found


def decided(text, folder):
    """The same by our rules."""
    file = folder / "made.toml"
    file.write_text(text)
    report = check(file, 0.0)
    assert report.problems == []
    config = report.config
    names = [listener.name for listener in config.listener]
    plain = worker_settings(config, NamedFiles(), dict.fromkeys(names, ()), dict.fromkeys(names, 0)).listener[0]
    rules, found = Rules(plain.rule), []
    for method, path, name in REQUESTS:
        request = parse_request(f"{method} {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        try:
            action = rules.of_request(request, "", "127.0.0.1") or ToPool(plain.pool)
        except ProxyError as error:
            action = Deny(error.status)
        match action:
            case ToPool():
                found.append((200, None, action.name))
            case Deny():
                found.append((action.status, None, ""))
            case Redirect():
                head = rule_answer(action, request, b"http", keep_alive=True).split(b"Location: ")[1]
                found.append((action.code, head.split(b"\r\n")[0].decode(), ""))
            case Answer():
                found.append((action.status, None, ""))
    return found


@needs_haproxy
@needs_nginx
@FEW
@given(haproxy_files())
def test_haproxy(tmp_path_factory, host, lines):
    folder = tmp_path_factory.mktemp("haproxy")
    (front,) = free_ports(1)
    text = HAPROXY_FILE.format(front=front, host=host, lines=lines)
    source = folder / "haproxy.cfg"
    source.write_text(text)
    done = subprocess.run([HAPROXY, "-c", "-f", source], capture_output=True, text=True, check=False)
    found, refused = attempted(lambda: outcome(text, folder))
    if found is None:
        assert done.returncode != 0 or "nothing to import" in refused, (lines, refused)
        return
    assert done.returncode == 0 or not found.complete, (lines, done.stderr)
    if done.returncode or not found.complete:
        return  # what was left out is told
    with Haproxy(folder, [source], front):
        theirs = asked(front)
    ours = decided(found.text, folder)
    assert list(zip(REQUESTS, ours, strict=True)) == list(zip(REQUESTS, theirs, strict=True)), lines


# ---------------------------------------------------------------- nginx

targets = st.sampled_from(["one", "two"])
answers = st.sampled_from(["return 403;", "return 404;", "return 301 https://$host$request_uri;", "deny all;", ""])
guards = st.sampled_from(
    [
        "",
        "allow 10.0.0.0/8; deny all;",
        "allow 127.0.0.1; deny all;",
        "deny 127.0.0.0/8;",
        "limit_except GET { deny all; }",
    ]
)
checks = st.sampled_from(
    [
        "",
        "if ($request_method = POST) { return 405; }",
        "if ($request_method !~ ^(GET|POST)$) { return 405; }",
        "if ($host = b.example) { return 410; }",
        "if ($host ~ ^(x\\.)?a\\.example$) { return 301 http://b.example$request_uri; }",
        "if ($uri ~ ^/adm) { return 403; }",
    ]
)


@st.composite
def locations(draw):
    kind = draw(st.sampled_from(["", "", "= ", "^~ "]))
    path = draw(st.sampled_from(["/", "/a", "/a/", "/admin", "/b"]))
    answer = draw(answers)
    inside = answer or draw(guards)
    proxied = f"proxy_set_header Host $http_host; proxy_set_header X-Pool {{0}}; proxy_pass http://{draw(targets)};"
    if answer.startswith("return"):
        return f"{kind}{path}", f"location {kind}{path} {{ {inside} }}"
    return f"{kind}{path}", f"location {kind}{path} {{ {inside} {proxied} }}"


@st.composite
def nginx_servers(draw):
    servers, names = [], [["a.example"], ["*.a.example"], ["b.example"], [".a.example"]]
    for number in range(draw(st.integers(1, 3))):
        # Without a location for the rest nginx serves files of its own.
        chosen = {"/": "location / { return 404; }"}
        chosen |= dict(draw(st.lists(locations(), min_size=1, max_size=4)))
        name = f"server_name {names[draw(st.integers(0, 3))][0]};" if number else ""
        servers.append(f"{name} {draw(checks)}\n" + "\n".join(chosen.values()))
    fault = draw(st.integers(0, 9))
    if fault == 0:
        servers[-1] += draw(st.sampled_from(["no_such_directive x;", "location { return 200; }", "allow 300.0.0.0/8;"]))
    return servers


@needs_nginx
@FEW
@given(nginx_servers())
def test_nginx(tmp_path_factory, host, servers):
    folder = tmp_path_factory.mktemp("nginx")
    (front,) = free_ports(1)
    blocks = "".join(f"server {{ listen 127.0.0.1:{front};\n{each}\n}}\n" for each in servers)
    # The pool is told by a header: those of two upstreams are two pools.
    for name in ("one", "two"):
        blocks = blocks.replace("X-Pool {0}; proxy_pass http://" + name, f"X-Pool {name}; proxy_pass http://{name}")
    inside = f"upstream one {{ server 127.0.0.1:{host}; }}\nupstream two {{ server 127.0.0.1:{host}; }}\n{blocks}"
    file = folder / "nginx.conf"
    paths = NGINX_PATHS.format(folder=folder)
    file.write_text(f"events {{}}\npid {folder}/pid;\nhttp {{\n{paths}{inside}\n}}\n")
    done = subprocess.run(
        ["nginx", "-t", "-c", file, "-e", folder / "log"], capture_output=True, text=True, check=False
    )
    assume("conflicting server name" not in done.stderr)
    found, refused = attempted(lambda: import_nginx([file], Surroundings({}, lambda _: [])))
    if found is None:
        reasons = ("nothing to import", "keeps clients out")
        assert done.returncode != 0 or any(each in refused for each in reasons), (servers, refused)
        return
    left_out = [each for each in found.remarks if each.effect in (Effect.TRAFFIC, Effect.ACCESS)]
    left_out = [each for each in left_out if "_temp_path" not in each.what]
    assert done.returncode == 0 or left_out, (servers, done.stderr)
    if done.returncode or left_out:
        return
    with nginx(folder / "real", inside, front):
        theirs = asked(front)
    ours = decided(found.text, folder)
    assert list(zip(REQUESTS, ours, strict=True)) == list(zip(REQUESTS, theirs, strict=True)), servers
