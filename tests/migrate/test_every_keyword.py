"""Every keyword that an importer knows has an effect on the new file, or is told: nothing is dropped in silence."""

import tomllib
from pathlib import Path

import pytest
from haproxy_rig import outcome

from balancer.errors import ConfigError
from balancer.migrate.haproxy import actions, known_bind, known_global, known_proxy, server
from balancer.migrate.nginx import known
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings

HAPROXY = """\
http-errors site
  errorfile 503 /e/503
global
{global}
defaults
  mode http
frontend www
  bind 127.0.0.1:80 {bind}
{front}
  default_backend ide
backend other
  server o 192.0.2.3:80
frontend open
  bind 127.0.0.1:8080
  default_backend other
backend ide
{back}
  server a 192.0.2.1:80 {server}
  server b 192.0.2.2:80 {server}
"""
HASHED = "balance url_param t"
"""What the ring needs to be haproxy's."""
PROXY = {
    "acl": ("front", "acl x path /x\n  http-request deny if x"),
    "balance": ("back", "balance source"),
    "bind": ("front", "bind 127.0.0.1:81"),
    "cookie": ("back", f"{HASHED}\n  cookie S insert", HASHED),
    "default-server": ("back", "default-server weight 7"),
    "disabled": ("front", "disabled"),
    "enabled": ("front", "disabled\n  enabled", "disabled"),
    "errorfile": ("front", "errorfile 503 /x"),
    "errorfiles": ("front", "errorfiles site"),
    "hash-balance-factor": ("back", f"{HASHED}\n  hash-balance-factor 150", HASHED),
    "hash-type": ("back", f"{HASHED}\n  hash-type consistent", HASHED),
    "http-check": (
        "back",
        "default-server check\n  option httpchk\n  http-check expect status 204",
        "default-server check\n  option httpchk",
    ),
    "http-error": ("front", "http-error status 404 content-type text/plain string x"),
    "http-request": ("front", "http-request deny"),
    "log": ("front", "log /dev/log local0"),
    "maxconn": ("front", "maxconn 9"),
    "mode": ("front", "mode tcp"),
    "monitor-uri": ("front", "monitor-uri /up"),
    "option allbackups": (
        "back",
        "server c 192.0.2.4:80 backup\n  server d 192.0.2.5:80 backup\n  option allbackups",
        "server c 192.0.2.4:80 backup\n  server d 192.0.2.5:80 backup",
    ),
    "option forwardfor": ("front", "option forwardfor"),
    "option httpchk": ("back", "default-server check\n  option httpchk", "default-server check"),
    "option redispatch": ("back", f"{HASHED}\n  option redispatch", HASHED),
    "option ssl-hello-chk": ("back", "default-server check\n  option ssl-hello-chk", "default-server check"),
    "redirect": ("front", "redirect location / if { path /x }"),
    "retries": ("back", "retries 7"),
    "server": ("back", "server c 192.0.2.4:80"),
    "server-template": ("back", "server-template t 2 192.0.2.4:80"),
    "stats": ("front", "stats enable"),
    "stick": ("back", "stick-table type ip size 1k\n  stick on src", "stick-table type ip size 1k"),
    "tcp-request": ("front", "tcp-request content reject"),
    "timeout check": ("back", "default-server check\n  timeout check 1s", "default-server check"),
    "timeout client": ("front", "timeout client 7s"),
    "timeout client-hs": ("front", "timeout client-hs 7s"),
    "timeout connect": ("back", "timeout connect 7s"),
    "timeout http-keep-alive": ("front", "timeout http-keep-alive 7s"),
    "timeout http-request": ("front", "timeout http-request 7s"),
    "timeout queue": ("back", "timeout queue 7s"),
    "timeout server": ("back", "timeout server 7s"),
    "timeout tunnel": ("back", "timeout tunnel 7s"),
    "unique-id-header": ("front", "unique-id-header X-Id"),
    "use_backend": ("front", "use_backend other if { path /x }"),
}
GLOBAL = {
    "close-spread-time": "close-spread-time 7s",
    "hard-stop-after": "hard-stop-after 7s",
    "log": "log /dev/log local0",
    "maxconn": "maxconn 9",
    "nbproc": "nbproc 2",
    "nbthread": "nbthread 2",
    "ssl-default-bind-options": "ssl-default-bind-options ssl-min-ver TLSv1.3",
    "stats": "stats socket /x",
    "tune.bufsize": "tune.bufsize 20000",
}
SSL = "ssl crt a.pem"
BIND = {
    "accept-proxy": "accept-proxy",
    "alpn": (f"{SSL} alpn h2", SSL),
    "ca-file": (f"{SSL} verify required ca-file b.pem", f"{SSL} verify required ca-file @x"),
    "ca-verify-file": (f"{SSL} verify required ca-verify-file b.pem", SSL),
    "crl-file": (f"{SSL} verify required ca-file b.pem crl-file c", f"{SSL} verify required ca-file b.pem"),
    "crt": (f"{SSL} crt b.pem", SSL),
    "default-crt": ("ssl default-crt b.pem", SSL),
    "force-sslv3": (f"{SSL} force-sslv3", SSL),
    "force-tlsv10": (f"{SSL} force-tlsv10", SSL),
    "force-tlsv11": (f"{SSL} force-tlsv11", SSL),
    "force-tlsv12": (f"{SSL} force-tlsv12", SSL),
    "force-tlsv13": (f"{SSL} force-tlsv13", SSL),
    "interface": "interface eth0",
    "maxconn": "maxconn 7",
    "namespace": "namespace x",
    "no-tlsv12": (f"{SSL} no-tlsv12", SSL),
    "npn": (f"{SSL} npn h2", SSL),
    "proto": (f"{SSL} proto h2", SSL),
    "ssl": (SSL, "name x"),
    "ssl-min-ver": (f"{SSL} ssl-min-ver TLSv1.3", SSL),
    "tcp-md5sig": "tcp-md5sig x",
    "verify": (f"{SSL} ca-file b.pem verify optional", f"{SSL} ca-file b.pem"),
}
SERVER = {
    "addr": ("check addr 192.0.2.9", "check"),
    "agent-check": ("check agent-check agent-port 9", "check agent-port 9"),
    "agent-inter": ("check agent-check agent-port 9 agent-inter 7s", "check agent-check agent-port 9"),
    "agent-port": ("check agent-check agent-port 9", "check agent-check agent-port 10"),
    "backup": "backup",
    "ca-file": ("ssl ca-file c.pem", "ssl ca-file b.pem"),
    "check": "check",
    "check-send-proxy": ("check check-send-proxy", "check"),
    "check-sni": ("check ssl verify none check-ssl check-sni x.example", "check ssl verify none check-ssl"),
    "check-ssl": ("check check-ssl verify none", "check"),
    "crt": ("ssl verify none crt c.pem", "ssl verify none"),
    "disabled": "disabled",
    "downinter": ("check downinter 7s", "check"),
    "error-limit": ("check observe layer7 on-error mark-down error-limit 7", "check observe layer7 on-error mark-down"),
    "fall": ("check fall 7", "check"),
    "fastinter": ("check fastinter 500ms", "check"),
    "inter": ("check inter 7s", "check"),
    "maxconn": "maxconn 7",
    "maxqueue": ("maxconn 7 maxqueue 8", "maxconn 7"),
    "observe": ("check observe layer7", "check"),
    "on-error": ("check observe layer7 on-error mark-down", "check observe layer7"),
    "on-marked-down": ("check on-marked-down shutdown-sessions", "check"),
    "port": ("check port 99", "check"),
    "rise": ("check rise 7", "check"),
    "send-proxy": "send-proxy",
    "send-proxy-v2": "send-proxy-v2",
    "send-proxy-v2-ssl": "send-proxy-v2-ssl",
    "send-proxy-v2-ssl-cn": "send-proxy-v2-ssl-cn",
    "slowstart": ("check slowstart 7s", "check"),
    "sni": ("ssl verify none sni str(x.example)", "ssl verify none"),
    "ssl": ("ssl verify none", "verify none"),
    "verify": ("ssl verify none", "ssl ca-file b.pem"),
    "verifyhost": ("ssl ca-file b.pem verifyhost x.example", "ssl ca-file b.pem"),
    "weight": "weight 7",
}
NEEDS_MORE = {
    "needs files": {"crt-list"},
    "stands in each example": {"default_backend"},
    "only with a hash": {"guid", "hash-key", "id", "cookie"},
    "the state that servers have anyway, or that is always so here": {
        *("enabled", "option http-keep-alive", "option tcp-check", "v4v6", "v6only"),
        *("no-alpn", "no-sslv3", "no-tlsv10", "no-tlsv11", "no-strict-sni"),
    },
    "how lines of a log look that is converted": {"option httplog", "option httpslog", "option tcplog"},
    "where other keywords find files, or what they mean": {
        *("ca-base", "crt-base", "default-path", "ssl-load-extra-del-ext", "ssl-load-extra-files"),
        *("presetenv", "resetenv", "setenv", "unsetenv", "spread-checks", "ssl-server-verify", "tune.maxrewrite"),
    },
}
"""Keywords without an example of one line, and why."""


def haproxy(folder, **places):
    text = HAPROXY
    for name in ("global", "bind", "front", "back", "server"):
        text = text.replace(f"{{{name}}}", f"  {places[name]}" if name in places else "")
    try:
        found = outcome(text, folder)
    except ConfigError as error:
        return str(error)
    return tomllib.loads(found.text), {(each.what, each.message) for each in found.remarks}


def pair(example):
    """The example, and the same without what it is about."""
    return example if isinstance(example, tuple) else (example, "")


def cases():
    for keyword, (place, *example) in PROXY.items():
        yield keyword, place, *(example if len(example) == 2 else (example[0], ""))
    for place, examples in (("global", GLOBAL), ("bind", BIND), ("server", SERVER)):
        yield from ((keyword, place, *pair(example)) for keyword, example in examples.items())


@pytest.mark.parametrize(("keyword", "place", "line", "without"), list(cases()))
def test_a_keyword_of_haproxy_changes_the_file_or_is_told(keyword, place, line, without, tmp_path):
    more = {"log": {"front": "log global"}, "ssl-default-bind-options": {"bind": SSL}}.get(keyword, {})
    more = more if place == "global" else {}
    assert haproxy(tmp_path, **{place: line}, **more) != haproxy(tmp_path, **{place: without}, **more)


def test_every_keyword_of_haproxy_has_an_example():
    silent = {keyword for keyword, message in {**known_proxy.KEYWORDS, **known_global.KEYWORDS}.items() if not message}
    silent |= {
        keyword
        for options in (known_bind.OPTIONS, server.OPTIONS)
        for keyword, (_, message) in options.items()
        if not message
    }
    assert silent - {keyword for keyword, *_ in cases()} - set().union(*NEEDS_MORE.values()) == set()


ACTIONS = {
    "add-header": "add-header X-A b",
    "allow": "allow if { path /x }",
    "auth": "auth",
    "del-header": "del-header X-A",
    "deny": "deny",
    "redirect": "redirect location /",
    "reject": "reject",
    "return": "return",
    "set-header": "set-header X-A b",
    "silent-drop": "silent-drop",
    "tarpit": "tarpit",
}


@pytest.mark.parametrize("action", [name for name, message in actions.HTTP.items() if not message])
def test_an_action_of_haproxy_changes_the_file_or_is_told(action, tmp_path):
    assert haproxy(tmp_path, front=f"http-request {ACTIONS[action]}") != haproxy(tmp_path)


NGINX = """\
{main}
events {{ {events} }}
http {{
{http}
upstream ide {{ server 127.0.0.1:1; server 127.0.0.1:2; {upstream} }}
server {{ listen 80; {server}
location / {{ proxy_set_header Host $host; proxy_pass http://ide; {location} }} }}
server {{ listen 443 ssl; ssl_certificate a; ssl_certificate_key b; {tls}
location / {{ proxy_set_header Host $host; proxy_pass https://127.0.0.1:3; }} }}
}}
stream {{ server {{ listen 81; proxy_pass 127.0.0.1:4; {stream} }} {streams} }}
"""
ASKED = "ssl_client_certificate a; ssl_verify_client on;"
DIRECTIVES = {
    "user": ("main", "user www;"),
    "pid": ("main", "pid /x;"),
    "daemon": ("main", "daemon off;"),
    "master_process": ("main", "master_process off;"),
    "worker_processes": ("main", "worker_processes 3;"),
    "thread_pool": ("main", "thread_pool x;"),
    "worker_connections": ("events", "worker_connections 9;"),
    "use": ("events", "use poll;"),
    "multi_accept": ("events", "multi_accept on;"),
    "server": ("http", "server { listen 82; location / { proxy_pass http://127.0.0.1:9; } }"),
    "location": ("server", "location /x { proxy_pass http://127.0.0.1:9; }"),
    "upstream": ("http", "upstream x { server 127.0.0.1:9; }"),
    "geo": ("http", "geo $x { default a; }"),
    "split_clients": ("http", "split_clients $arg_a $x { * a; }"),
    "types": ("http", "types { text/html html; }"),
    "if": ("server", "if ($http_x) { return 403; }"),
    "listen": ("server", "listen 83;"),
    "server_name": ("server", "server_name a.example;"),
    "ssl_certificate": ("tls", "ssl_certificate c; ssl_certificate_key d;"),
    "ssl_certificate_key": ("tls", "ssl_certificate c; ssl_certificate_key d;"),
    "ssl_protocols": ("tls", "ssl_protocols TLSv1.3;"),
    "ssl": ("server", "ssl_certificate a; ssl_certificate_key b; ssl on;"),
    "proxy_pass": ("server", "location /x { proxy_pass http://127.0.0.1:9; }"),
    "proxy_set_header": ("location", "proxy_set_header X-A b;"),
    "proxy_http_version": ("location", "proxy_http_version 1.0;"),
    "proxy_connect_timeout": ("location", "proxy_connect_timeout 7s;"),
    "proxy_read_timeout": ("location", "proxy_read_timeout 7s;"),
    "proxy_send_timeout": ("location", "proxy_send_timeout 7s;"),
    "proxy_timeout": ("stream", "proxy_timeout 7s;"),
    "proxy_ssl": ("stream", "proxy_ssl on;"),
    "proxy_ssl_verify": ("tls", "proxy_ssl_trusted_certificate x; proxy_ssl_verify on;"),
    "proxy_ssl_name": ("tls", "proxy_ssl_name x.example;"),
    "proxy_ssl_trusted_certificate": ("tls", "proxy_ssl_trusted_certificate x; proxy_ssl_verify on;"),
    "proxy_ssl_certificate": ("tls", "proxy_ssl_certificate x; proxy_ssl_certificate_key y;"),
    "proxy_ssl_certificate_key": ("tls", "proxy_ssl_certificate x; proxy_ssl_certificate_key y;"),
    "proxy_ssl_server_name": ("tls", "proxy_ssl_server_name on;"),
    "proxy_protocol": ("stream", "proxy_protocol on;"),
    "keepalive_timeout": ("http", "keepalive_timeout 7s;"),
    "client_header_timeout": ("http", "client_header_timeout 7s;"),
    "client_body_timeout": ("http", "client_body_timeout 7s;"),
    "client_max_body_size": ("http", "client_max_body_size 7m;"),
    "large_client_header_buffers": ("http", "large_client_header_buffers 4 16k;"),
    "set_real_ip_from": ("server", "set_real_ip_from 10.0.0.0/8;"),
    "real_ip_header": ("server", "set_real_ip_from 10.0.0.0/8; real_ip_header X-Real-IP; allow 10.0.0.1; deny all;"),
    "real_ip_recursive": ("server", "real_ip_recursive on;"),
    "hash": ("upstream", "hash $arg_a consistent;"),
    "ip_hash": ("upstream", "ip_hash;"),
    "least_conn": ("upstream", "least_conn;"),
    "random": ("upstream", "random;"),
    "sticky": ("upstream", "sticky cookie x;"),
    "zone": ("upstream", "zone x 64k;"),
    "keepalive": ("upstream", "keepalive 9;"),
    "keepalive_requests": ("http", "keepalive_requests 9;"),
    "keepalive_time": ("http", "keepalive_time 9h;"),
    "return": ("server", "location /x { return 404; }"),
    "default_type": ("http", "default_type text/html;"),
    "sendfile": ("http", "sendfile on;"),
    "tcp_nopush": ("http", "tcp_nopush on;"),
    "tcp_nodelay": ("http", "tcp_nodelay off;"),
    "aio": ("http", "aio on;"),
    "access_log": ("http", "access_log /x;"),
    "ssl_client_certificate": ("tls", ASKED),
    "ssl_crl": ("tls", f"{ASKED} ssl_crl c;"),
    "ssl_trusted_certificate": ("tls", "ssl_trusted_certificate a; ssl_verify_client on;"),
    "ssl_ocsp": ("tls", f"{ASKED} ssl_ocsp on;"),
    "ssl_verify_client": ("tls", ASKED),
    "error_page": ("server", "error_page 404 /x;"),
    "allow": ("location", "allow 10.0.0.0/8; deny all;"),
    "deny": ("location", "deny all;"),
    "satisfy": ("location", "satisfy any; allow 10.0.0.0/8; deny all; auth_basic x;"),
    "limit_except": ("location", "limit_except GET { deny all; }"),
    "internal": ("location", "internal;"),
    "auth_basic": ("location", "auth_basic x;"),
    "auth_request": ("location", "auth_request /x;"),
    "auth_jwt": ("location", "auth_jwt x;"),
    "add_header": ("location", "add_header X-A b;"),
    "proxy_hide_header": ("location", "proxy_hide_header X-A;"),
}
BLOCKS_AND_MORE = {"http", "events", "stream", "include", "map", "load_module", "ssl_preread", "server_tokens"}
"""What uses a map, a module or a name is converted or told where it does; ``Server`` is that of the backends."""


def nginx(folder, place="", line=""):
    names = ("main", "events", "http", "upstream", "server", "location", "tls", "stream", "streams")
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(**{name: line if name == place else "" for name in names}))
    found = import_nginx([file], Surroundings({}, lambda _: ["192.0.2.1"]))
    return tomllib.loads(found.text), {(each.what, each.message) for each in found.remarks}


@pytest.mark.parametrize("name", sorted(DIRECTIVES))
def test_a_directive_of_nginx_changes_the_file_or_is_told(name, tmp_path):
    assert nginx(tmp_path, *DIRECTIVES[name]) != nginx(tmp_path)


def test_every_directive_of_nginx_has_an_example():
    silent = {name for name in known.NAMES if not known.meaning(name)}
    assert silent - set(DIRECTIVES) - BLOCKS_AND_MORE == set()


HEADINGS = {
    "haproxy, section `global`": (known_global.KEYWORDS, known_global.effect),
    "haproxy, `defaults`, `frontend`, `backend`, `listen`": (known_proxy.KEYWORDS, known_proxy.effect),
    "haproxy, actions of `http-request`": (actions.HTTP, lambda _: Effect.TRAFFIC),
    "haproxy, options of `bind`": ({name: text for name, (_, text) in known_bind.OPTIONS.items()}, known_bind.effect),
    "haproxy, options of `server`": ({name: text for name, (_, text) in server.OPTIONS.items()}, server.effect),
    "nginx": ({name: known.meaning(name) for name in known.NAMES}, lambda name: known.effect(known.meaning(name))),
}
COLUMNS = {
    "carried": "carried over",
    Effect.CHANGED: "changed",
    Effect.TRAFFIC: "left out, requests notice",
    Effect.NONE: "left out, no request notices",
}
PAGE = Path(__file__).parents[2] / "docs" / "import-keywords.md"
INTRODUCTION = """\
# What the importers know

Every keyword of haproxy and directive of nginx that the importers know, by what becomes of it.
What is carried over may still have a form that is not: that is told with its line, and so is all
that is changed or left out. Others are errors, as they are there. [Moving in](migration.md) says
what they become.
"""


def page():
    """The page of the documentation."""
    lines = [INTRODUCTION]
    for heading, (keywords, effect) in HEADINGS.items():
        lines += [f"## {heading}", "", "| | |", "|---|---|"]
        found = {name: effect(name) if text else "carried" for name, text in keywords.items()}
        for kind, title in COLUMNS.items():
            names = sorted(name for name, its in found.items() if its == kind)
            if names:
                lines.append(f"| {title} | {', '.join(f'`{name}`' for name in names)} |")
        lines.append("")
    return "\n".join(lines)


def test_the_page_of_the_documentation_is_up_to_date():
    """``PYTHONPATH=. python tests/migrate/test_every_keyword.py`` writes it."""
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    PAGE.write_text(page())
