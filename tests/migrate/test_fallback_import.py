"""Tokens from several places, as haproxy and nginx are told to find them: imported, and beside the real ones."""

import http.client
import itertools
from pathlib import Path

import pytest
from proxies import free_ports, haproxy, hosts, needs_haproxy, needs_nginx, nginx

from balancer.config.load import check
from balancer.config.plain import token_settings
from balancer.errors import ConfigError
from balancer.http.head import parse_request
from balancer.http.token import TokenRule, extract
from balancer.migrate.haproxy.importer import import_haproxy
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Surroundings
from balancer.ring.build import build

PUBLISHED = Path(__file__).parent / "published"
NOWHERE = Surroundings({}, lambda name: [])
USERS = [f"user-{n * 2654435761 % 2**32:08x}" for n in range(60)]
SPELLED = ["a%7Eb", "a%7eb", "a~b", "a+b", "a%20b", "%zz", "%C3%A4"]


def imported(folder, text, importer):
    """The pool that the importer makes of ``text``."""
    source, file = folder / "theirs", folder / "ours.toml"
    source.write_text(text)
    file.write_text(importer([source], NOWHERE).text)
    report = check(file, 0)
    assert report.problems == []
    return report.config.pool[0]


def token_of(pool, target, fields):
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    request = parse_request(f"GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    rule = TokenRule(token_settings(pool))
    return next(filter(None, (extract(request, place) for place in (rule.place, *rule.fallback))), None)


def requests():
    """Targets and fields: a user in each place, and different users in several."""
    for user in [*USERS, *SPELLED]:
        yield f"/x?token={user}", {}
        yield "/", {"Cookie": f"a=b; token={user}"}
        yield "/", {"X-Token": user}
    for one, other in itertools.pairwise([*USERS, *SPELLED]):
        yield f"/?token={one}", {"Cookie": f"token={other}"}
        yield f"/?token={one}", {"Cookie": f"token={other}", "X-Token": other}
        yield "/", {"Cookie": f"token={other}", "X-Token": one}


def compare(port, pool):
    """Where requests go there and here; those without a token have no place."""
    ring, places = build(pool), {backend.name: str(backend.address) for backend in pool.backend}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    compared, used = 0, set()
    for target, fields in requests():
        connection.request("GET", target, headers=fields)
        response = connection.getresponse()
        response.read()
        if (token := token_of(pool, target, fields)) is not None:
            assert places[ring.owner(token)] == response.getheader("X-Host"), (target, fields)
            compared += 1
            used.add(response.getheader("X-Host"))
    connection.close()
    assert len(used) == 3
    return compared


def filled(text, first, front):
    for number in range(3):
        text = text.replace(f"127.0.0.1:2222{number}", f"127.0.0.1:{first[number]}")
    return text.replace("127.0.0.1:22230", f"127.0.0.1:{front}").replace("127.0.0.1:22231", f"127.0.0.1:{front}")


HAPROXY = (PUBLISHED / "fallback.cfg").read_text()
RULES = HAPROXY[HAPROXY.index("    http-request") : HAPROXY.index("    default_backend")]
FOUND = "{ var(txn.user) -m found }"
QUERY = "http-request set-var(txn.user) url_param(token)"
COOKIE = "http-request set-var(txn.user) req.cook(token)"
HEADER = "http-request set-var(txn.user) req.hdr(X-Token)"
ORDERS = {
    "as published": (RULES, "query cookie"),
    "the last that finds something": (f"{COOKIE}\n{QUERY}\n", "query cookie"),
    "three": (f"{QUERY}\n{COOKIE} unless {FOUND}\n{HEADER} if !{FOUND}\n", "query cookie header"),
    "one before all": (f"{QUERY}\n{COOKIE} unless {FOUND}\n{HEADER}\n", "header query cookie"),
    "a named condition": (f"acl known var(txn.user) -m found\n{HEADER}\n{QUERY} unless known\n", "header query"),
    "a condition on the sample": (
        f"{QUERY} if {{ url_param(token) -m found }}\n{COOKIE} unless {{ url_param(token) -m found }}\n",
        "query cookie",
    ),
    "another variable": ("http-request set-var(txn.other) src\n" + RULES, "query cookie"),
}


@needs_haproxy
@pytest.mark.parametrize("order", ORDERS)
def test_haproxy_and_we_place_alike(tmp_path, order):
    rules, places = ORDERS[order]
    front, *ports = free_ports(4)
    text = filled(HAPROXY.replace(RULES, rules), ports, front)
    pool = imported(tmp_path, text, import_haproxy)
    assert [place.source for place in (pool.token, *pool.token.fallback)] == places.split()
    with hosts(tmp_path / "hosts", ports), haproxy(tmp_path / "haproxy", text, front):
        assert compare(front, pool) > 100


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (f"{QUERY},lower\n", "cannot be computed here"),
        (f"{QUERY}\n{COOKIE} if {{ path_beg /api }}\n", "has no counterpart"),
        (f"{QUERY}\nhttp-request set-var(txn.user) src unless {FOUND}\n", "cannot be"),
        (f"{QUERY}\nhttp-request unset-var(txn.user)\n", "cannot be computed here"),
        (f"http-request allow if {{ path_beg /api }}\n{QUERY}\n", "cannot be placed as there"),
        ("", "nothing sets txn.user"),
        (f"{QUERY.replace('txn.user', 'sess.user')}\n", "nothing sets txn.user"),
    ],
)
def test_what_haproxy_computes_is_refused(tmp_path, rules, message):
    with pytest.raises(ConfigError, match=message):
        imported(tmp_path, HAPROXY.replace(RULES, rules), import_haproxy)


def test_frontends_that_differ_are_refused(tmp_path):
    second = f"frontend other\nbind 127.0.0.1:22239\n{HEADER}\ndefault_backend ide\n"
    with pytest.raises(ConfigError, match="in different ways"):
        imported(tmp_path, HAPROXY.replace("\nbackend ide\n", f"\n{second}backend ide\n"), import_haproxy)


def test_rules_that_are_converted_are_not_reported(tmp_path):
    source = tmp_path / "theirs"
    source.write_text("global\n" + HAPROXY.replace(RULES, "http-request set-var(txn.other) src\n" + RULES))
    remarks = [each.message for each in import_haproxy([source], NOWHERE).remarks if "set-var" in each.what]
    assert len(remarks) == 1


NGINX = (PUBLISHED / "fallback.conf").read_text()
MAP = NGINX[NGINX.index("    map") : NGINX.index("    upstream")]
CHAINS = {
    "as published": (MAP, "query cookie"),
    "a chain": (
        'map $arg_token $user { default $arg_token; "" $next; }\n'
        'map $cookie_token $next { volatile; "" $http_x_token; default $cookie_token; }\n',
        "query cookie header",
    ),
    "a chain of results": (
        'map $http_x_token $first { default $http_x_token; "" $arg_token; }\n'
        "map ${first} $user { default ${first}; '' $cookie_token; }\n",
        "header query cookie",
    ),
    "a constant for the rest": ('map $arg_token $user { default $arg_token; "" nobody; }\n', "query"),
    "a map without effect": ("map $cookie_token $user { default $cookie_token; }\n", "cookie"),
}


@needs_nginx
@pytest.mark.parametrize("chain", CHAINS)
def test_nginx_and_we_place_alike(tmp_path, chain):
    maps, places = CHAINS[chain]
    front, *ports = free_ports(4)
    text = filled(NGINX.replace(MAP, maps), ports, front)
    pool = imported(tmp_path, text, import_nginx)
    assert [place.source for place in (pool.token, *pool.token.fallback)] == places.split()
    inside = text[text.index("http {") + 6 : text.rindex("}")]
    with hosts(tmp_path / "hosts", ports), nginx(tmp_path / "nginx", inside, front):
        assert compare(front, pool) > 50


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ('map $arg_token $user { default $cookie_token; "" $arg_token; }', "computes a value"),
        ('map $arg_token $user { default $arg_token; root admin; "" $cookie_token; }', "computes a value"),
        ('map $arg_token $user { default "u-$arg_token"; }', "computes a value"),
        ('map $arg_token $user { default $arg_token; "" $request_id; }', "cannot be computed"),
        ("map $arg_token$cookie_token $user { default x; }", "cannot be computed"),
        ("map $user $user { default $user; }", "made of itself"),
    ],
)
def test_what_nginx_computes_is_refused(tmp_path, maps, message):
    with pytest.raises(ConfigError, match=message):
        imported(tmp_path, NGINX.replace(MAP, maps), import_nginx)
