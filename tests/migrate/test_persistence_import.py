"""Pools where no hash places users: turns, and what kept users on their server all the same."""

import tomllib

import pytest
from haproxy_rig import made, outcome

from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings

HAPROXY = """\
defaults
  mode http
frontend www
  bind 127.0.0.1:80
  default_backend ide
backend ide
  %s
  server a 192.0.2.1:80 cookie s1
  server b 192.0.2.2:80 cookie s2 weight 3
"""
NGINX = "events {{}}\nhttp {{\nupstream ide {{ {} server 127.0.0.1:1; server 127.0.0.1:2 weight=2; }}\n{}}}\n"
SERVER = "server { listen 81; location / { proxy_set_header Host $host; proxy_pass http://ide; } }\n"
ASSIGN = {"source": "none", "missing": "assign"}
CHANGED, TRAFFIC = Effect.CHANGED, Effect.TRAFFIC


def keys(found):
    """How a pool chooses, and the effects of what is told about it."""
    pool = tomllib.loads(found.text)["pool"][0]
    about = ("balance", "cookie", "stick", "least", "random", "upstream")
    told = [each.effect for each in found.remarks if each.what.startswith(about)]
    return pool.get("balance"), pool.get("token"), told


@pytest.mark.parametrize(
    ("lines", "balance", "token", "told"),
    [
        ("balance roundrobin", "turns", None, []),
        ("balance static-rr", "turns", None, []),
        ("", "turns", None, []),
        ("balance leastconn", "turns", None, [CHANGED]),
        ("balance random(2)", "turns", None, [CHANGED]),
        ("cookie SRV insert indirect nocache", None, ASSIGN | {"remember": "SRV"}, [CHANGED]),
        ("balance leastconn\n  cookie SRV insert", None, ASSIGN | {"remember": "SRV"}, [CHANGED]),
        ("cookie JSESSIONID prefix", None, ASSIGN | {"remember": "JSESSIONID-SRV"}, [CHANGED] * 2),
        (
            "cookie SRV insert domain a.example attr SameSite=None",
            None,
            ASSIGN | {"remember": "SRV"},
            [CHANGED] * 2,
        ),
        ("stick-table type ip size 1m\n  stick on src", None, {"source": "client_ip"}, [CHANGED]),
        ("stick-table type string size 1m\n  stick on hdr(x)", "turns", None, [TRAFFIC] * 2),
    ],
)
def test_haproxy(lines, balance, token, told, tmp_path):
    text = HAPROXY % lines
    made(text, tmp_path)
    assert keys(outcome(text, tmp_path)) == (balance, token, told)


def test_a_cookie_without_values_of_servers_keeps_nobody(tmp_path):
    text = HAPROXY.replace(" cookie s1", "").replace(" cookie s2", "") % "cookie SRV insert"
    assert keys(outcome(text, tmp_path)) == ("turns", None, [])


def test_a_cookie_beside_a_hash_is_told(tmp_path):
    found = outcome(HAPROXY % "balance url_param token\n  cookie SRV insert", tmp_path)
    assert keys(found)[1]["param"] == "token"
    assert [each.effect for each in found.remarks if each.what == "cookie"] == [TRAFFIC]


def test_pools_have_cookies_of_their_own(tmp_path):
    more = HAPROXY.split("\nbackend ide", 1)[1]
    text = (
        HAPROXY.replace("default_backend", "use_backend two if { path /x }\n  default_backend") + "backend two" + more
    )
    config, _ = made(text.replace("%s", "cookie SRV insert"), tmp_path)
    assert [each["token"]["remember"] for each in config["pool"]] == ["SRV", "SRV-2"]


@pytest.mark.parametrize(
    ("lines", "balance", "token", "told"),
    [
        ("", "turns", None, []),
        ("least_conn;", "turns", None, [CHANGED]),
        ("random two;", "turns", None, [CHANGED]),
        ("sticky cookie SRV expires=1h;", None, ASSIGN | {"remember": "SRV"}, [CHANGED]),
    ],
)
def test_nginx(lines, balance, token, told, tmp_path):
    file = tmp_path / "nginx.conf"
    file.write_text(NGINX.format(lines, SERVER))
    assert keys(import_nginx([file], Surroundings({}, lambda _: []))) == (balance, token, told)
