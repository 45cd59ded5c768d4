"""nginx's configuration as ours: what is read, what is told, and what is refused, as nginx would."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxies import needs_nginx

from balancer.cli.command import main
from balancer.config.load import load
from balancer.errors import ConfigError
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.nginx.words import BadWord, split
from balancer.migrate.outcome import Surroundings

NOWHERE = Surroundings({}, lambda name: ["192.0.2.7", "192.0.2.8"] if name == "two.example" else [])
GOOD = "events {}\nhttp {\nupstream ide { hash $arg_token consistent; server 127.0.0.1:4001; }\n"
SERVER = "server { listen 127.0.0.1:8080; location / { proxy_pass http://ide; } }\n"


@pytest.fixture
def imported(tmp_path):
    """The outcome of an import of this text, and our configuration as it is read."""

    def do(text, allow_open=False, **files):
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(content)
        path = tmp_path / "nginx.conf"
        path.write_text(text)
        outcome = import_nginx([path], replace(NOWHERE, allow_open=allow_open))
        ours = tmp_path / "balancer.toml"
        ours.write_text(outcome.text)
        return outcome, load(ours, 0)

    return do


def told(outcome):
    return {f"{remark.line} {remark.what}" for remark in outcome.remarks}


def test_what_becomes_of_settings(imported):
    text = (
        "worker_processes 3;\nevents { worker_connections 99; }\nhttp {\nclient_max_body_size 2m;\n"
        "keepalive_timeout 1m30s; client_body_timeout 45s;\nlarge_client_header_buffers 4 16k;\n"
        "proxy_read_timeout 300;\n"
        "client_header_timeout 20s;\nserver_tokens off;\nupstream ide { hash $arg_token consistent;"
        "server 127.0.0.1:4001 weight=3;"
        "server two.example:4002; }\n"
        "server { listen *:8080; proxy_read_timeout 1h;\nlocation / { proxy_set_header Host $host;"
        "proxy_pass http://ide; proxy_connect_timeout 500ms; } }\n}\n"
    )
    outcome, config = imported(text)
    assert config.workers == 3
    assert (config.limits.max_body_bytes, config.limits.max_head_bytes) == (2 << 20, 4 << 14)
    times = config.timeouts
    assert (times.idle, times.keep_alive, times.response, times.tunnel_idle) == (45, 90, 3600, 3600)
    assert (times.head, times.connect) == (20, 0.5)
    assert [(each.weight, str(each.address), each.server) for each in config.pool[0].backend] == [
        (3, "127.0.0.1:4001", None),
        (1, "192.0.2.7:4002", "two.example:4002"),
    ]
    assert [str(each) for each in config.listener[0].bind] == ["0.0.0.0:8080"]
    assert told(outcome) == {"2 worker_connections", "7 proxy_read_timeout", "10 server"}


def test_addresses_that_are_shared(imported):
    text = GOOD + (
        "upstream api { server 127.0.0.1:4002 max_conns=500; server 127.0.0.1:4003 backup; }\n"
        "server { listen 80; listen [::]:80; server_name b.example; location / { proxy_pass http://api; } }\n"
        "server { listen 80 default_server; listen [::]:80 default_server; location / { proxy_pass http://ide; } }\n"
        "server { listen 127.0.0.1:80; server_name c.example; location /c { proxy_pass http://api; } }\n"
        "server { listen 81 proxy_protocol; set_real_ip_from 10.0.0.0/8; location / { proxy_pass http://ide; } }\n}\n"
    )
    _, config = imported(text)
    first, second, third = config.listener
    assert [str(each) for each in first.bind] == ["0.0.0.0:80"]
    assert first.pool == "ide"
    assert [(each.host, each.path_prefix, each.pool, each.deny) for each in first.rule] == [
        (("b.example",), (), "api", None),
        (("c.example",), ("/c",), "api", None),
        (("c.example",), (), None, 404),
    ]
    assert [str(each) for each in second.bind] == ["[::]:80"]
    assert (third.proxy_protocol, [str(each) for each in third.trusted]) == ("accept", ["10.0.0.0/8"])
    api = next(each for each in config.pool if each.name == "api").backend
    assert [(backend.backup, backend.max_connections) for backend in api] == [(False, 500), (True, None)]


def test_stream(imported):
    text = (
        "load_module modules/ngx_stream_module.so;\nevents {}\nstream {\n"
        "map $ssl_preread_server_name $to { a.example one; default two; }\n"
        "upstream one { hash $ssl_preread_server_name consistent; server 10.0.0.1:443; server 10.0.0.2:443; }\n"
        "upstream two { hash $ssl_preread_server_name consistent; server 10.0.0.3:443; }\n"
        "upstream three { hash $remote_addr consistent; server 10.0.0.4:22; }\n"
        "server { listen 443; ssl_preread on; proxy_pass $to; proxy_protocol on; proxy_timeout 2h; }\n"
        "server { listen 127.0.0.1:22; proxy_pass three; }\nserver { listen 53 udp; proxy_pass three; }\n}\n"
    )
    outcome, config = imported(text)
    tls, ssh = config.listener
    assert (tls.mode, tls.key, tls.pool, [(each.sni, each.pool) for each in tls.route]) == (
        "tcp",
        "sni",
        "two",
        [(("a.example",), "one")],
    )
    assert (ssh.mode, ssh.key, ssh.pool) == ("tcp", "client_ip", "three")
    assert {(pool.name, pool.send_proxy, pool.ring.algorithm) for pool in config.pool} == {
        ("one", "v1", "nginx"),
        ("two", "v1", "nginx"),
        ("three", "off", "nginx"),
    }
    assert config.timeouts.tunnel_idle == 7200
    assert told(outcome) == {"10 listen udp"}


def test_every_line_without_a_counterpart_is_told(imported):
    lines = {
        "gzip on;": "gzip",
        "add_header X-A b;": "add_header X-A",
        "rewrite ^/a /b last;": "rewrite",
        "rewrite_log on;": "rewrite_log",
        "error_page 500 /50x.html;": "error_page",
        "location ~ [.]php$ { fastcgi_pass 127.0.0.1:9000; }": "fastcgi_pass",
        "location /s { alias /srv; }": 'location "/s"',
        "location @named { proxy_pass http://ide; }": 'location "@named"',
        "if ($http_x) { return 403; }": "if",
        "location /c { proxy_pass http://$http_x; }": "proxy_pass",
        "location /u { proxy_pass http://ide/other; }": "proxy_pass",
        "proxy_set_header X-Real-IP $geoip_city;": "proxy_set_header X-Real-IP",
        "server_name ~^x[.]example$ y.*;": "server_name",
        "auth_basic closed;": "auth_basic",
        "limit_req zone=a;": "limit_req",
        "proxy_cache a;": "proxy_cache",
    }
    body = "\n".join(lines)
    outcome, _ = imported(
        GOOD + "server { listen 127.0.0.1:8080; location / { proxy_pass http://ide; }\n" + body + "\n} }\n",
        allow_open=True,
    )
    assert {f"{number} {what}" for number, what in enumerate(lines.values(), 5)} <= told(outcome)
    assert f":{5}: gzip: compression" in outcome.text


BEHIND = (
    "events {{}} http {{ set_real_ip_from 10.0.0.0/8; {header} upstream a {{ {method}; server 10.0.0.1:1; }}\n"
    "server {{ listen 127.0.0.1:8080; location / {{ proxy_pass http://a; }} }} }}\n"
)


def test_users_are_not_placed_by_an_address_that_is_in_a_field(imported):
    method = "hash $remote_addr consistent"
    for header in ("", "real_ip_header X-Forwarded-For;"):
        with pytest.raises(ConfigError, match="comes from a header field"):
            imported(BEHIND.format(header=header, method=method))
        outcome, _ = imported(BEHIND.format(header=header, method="ip_hash"))
        assert any("comes from a header field" in each.message for each in outcome.remarks)
    _, config = imported(BEHIND.format(header="real_ip_header proxy_protocol;", method=method))
    assert config.pool[0].token.source == "client_ip"


@pytest.mark.parametrize(("method", "kept"), [("hash $arg_token consistent;", 1), ("", 2)])
def test_a_server_that_is_there_twice(imported, method, kept):
    text = GOOD.replace("127.0.0.1:4001;", "127.0.0.1:4001; server 127.0.0.1:4001;") + SERVER + "}\n"
    text = text.replace("hash $arg_token consistent;", method)
    outcome, config = imported(text)
    assert len(config.pool[0].backend) == kept
    assert any("has the same points" in each.message for each in outcome.remarks) == (kept == 1)


def test_fields_belong_to_pools_and_others_are_told(imported):
    text = GOOD + (
        "proxy_set_header Host $host;\n"
        "server { listen 127.0.0.1:8080; location / { proxy_pass http://ide; add_header X-A b; }\n"
        "location /x { proxy_pass http://ide; add_header X-A c always; }\n"
        "location /y { add_header X-Y z; return 200; }\n"
        "}\nserver { listen 127.0.0.1:8081; set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For;\nlocation / {"
        "proxy_pass http://127.0.0.1:9; proxy_set_header Host secret; proxy_set_header X-B secret-$uid_got;\n"
        "proxy_set_header X-Real-IP $remote_addr; } } }\n"
    )
    outcome, config = imported(text)
    assert "secret" not in outcome.text
    assert config.pool[0].response_fields.add == {"X-A": ("b",)}
    assert {"5 add_header X-A", "6 location /x", "7 add_header X-Y"} <= told(outcome)
    assert {"10 proxy_set_header Host", "10 proxy_set_header X-B", "11 proxy_set_header X-Real-IP"} <= told(outcome)
    assert config.pool[1].response_fields.add == {"X-A": ("c",)}  # its hosts again, as fields belong to pools
    assert config.pool[1].backend == config.pool[0].backend
    assert config.pool[2].request_fields.set == {}


BAD = {
    "hello world": (1, "the file ends inside"),
    "<html>\n<body>;": (1, "is not a directive of nginx"),
    "\x7fELF\x01\x02 {": (1, "the file ends inside the block"),
    GOOD: (4, "the file ends inside the block that begins in line 2"),
    GOOD + SERVER[:40]: (4, 'the file ends inside "location" of line 4'),
    GOOD + SERVER + "}\n}": (6, "this } has no matching {"),
    GOOD + SERVER + "server_name 'x;\n}": (5, "the quote (') that begins here is not closed"),
    GOOD + SERVER + 'server_tokens "on"off;\n}': (5, "after a quoted word"),
    GOOD + SERVER + "servr { listen 80; }\n}": (5, "is not a directive of nginx; did you mean server?"),
    GOOD + SERVER + "sendfile on\n}": (6, '"sendfile" (line 5) is not terminated by a semicolon'),
    GOOD + SERVER + "server;\n}": (5, "has no block"),
    GOOD + SERVER + "sendfile on { }\n}": (5, "takes no block"),
    GOOD + SERVER + "include /no/such/file.conf;\n}": (5, "file not found: /no/such/file.conf"),
    GOOD + SERVER + "include nginx.conf;\n}": (5, "includes itself"),
    GOOD + "server { listen 127.0.0.1:8080x; location / { proxy_pass http://ide; } }\n}": (
        4,
        "expected an address and a port",
    ),
    GOOD + "server { listen 127.0.0.1:8080 shiny; location / { proxy_pass http://ide; } }\n}": (
        4,
        "is no parameter of listen",
    ),
    GOOD + "server { location / { proxy_pass ide; } }\n}": (4, "expected http://NAME"),
    GOOD + "server { listen 8443 ssl; ssl_certificate /x; location / { proxy_pass http://ide; } }\n}": (
        4,
        "needs an ssl_cert",
    ),
    GOOD + "upstream a { }\nserver { location / { proxy_pass http://a; } }\n}": (4, "has no server"),
    GOOD + "upstream a { server 127.0.0.1:1 weight=0; }\n" + SERVER + "}": (4, "expected a whole number from 1"),
    GOOD + "upstream a { server 127.0.0.1:1 big; }\n" + SERVER + "}": (4, "is not a parameter of server"),
    GOOD + "upstream a { server no.such.example:1; }\nserver { location / { proxy_pass http://a; } }\n}": (
        4,
        "cannot be resolved",
    ),
    GOOD + "keepalive_timeout 1x;\n" + SERVER + "}": (4, "expected a time (a number"),
}


@pytest.mark.parametrize(("text", "line", "message"), [(text, *where) for text, where in BAD.items()])
def test_bad_files(tmp_path, text, line, message):
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        import_nginx([path], NOWHERE)
    assert f"{path}:{line}: " in str(error.value)
    assert message in str(error.value)


@needs_nginx
def test_nginx_refuses_them_too(tmp_path):
    """So none of them is refused without need."""

    def refused(text):
        path = tmp_path / "nginx.conf"
        path.write_text(text)
        command = [shutil.which("nginx"), "-t", "-q", "-c", str(path), "-e", str(tmp_path / "log")]
        return subprocess.run(command, capture_output=True, check=False).returncode != 0

    assert all(map(refused, BAD))
    assert os.getuid() != 0 or not refused(GOOD + SERVER + "access_log off;\n}")


MOVING = {
    "hash $arg_token;": r"Change nginx to hash \$arg_token consistent first .* about 50% of the users",
    "hash $uri consistent;": "cannot be computed here",
    "hash $arg_a$arg_b consistent;": "cannot be computed here",
}


@pytest.mark.parametrize(("method", "message"), MOVING.items())
def test_what_would_move_users_is_refused(tmp_path, method, message):
    path = tmp_path / "nginx.conf"
    two = GOOD.replace("127.0.0.1:4001;", "127.0.0.1:4001; server 127.0.0.1:4002; server 127.0.0.1:4003 backup;")
    path.write_text(two.replace("hash $arg_token consistent;", method) + SERVER + "}")
    with pytest.raises(ConfigError, match=message):
        import_nginx([path], NOWHERE)


def test_the_command(tmp_path, monkeypatch, capsys):
    def run(*args):
        monkeypatch.setattr(sys, "argv", ["balancer", "import", "nginx", *map(str, args)])
        code = main()
        return code, *capsys.readouterr()

    monkeypatch.setattr(sys, "stdin", io.StringIO())
    path, ours = tmp_path / "nginx.conf", tmp_path / "balancer.toml"
    path.write_text(GOOD + SERVER + "gzip on;\n}\n")
    code, out, err = run(path, "-o", ours)
    assert code == 4
    assert f"{path}:5: gzip: compression" in err
    assert "balancer check finds no problem" in out
    assert load(ours, 0).pool[0].name == "ide"
    code, _, err = run(path, path)
    assert code == 1
    assert err.endswith("\n1 problem: see above; nothing was written\n")
    assert "nginx has one main file, which includes the others" in err


def words(text):
    return [word.text for word in split(text)]


def test_words_are_those_of_nginx():
    assert words("a  b;c{d}") == ["a", "b", ";", "c", "{", "d}"]
    assert words("a'b' \"c d\";") == ["a'b'", "c d", ";"]
    assert words("a\\ b 'c\\'d' e\\\\f g\\nh \\.php$;") == ["a\\ b", "c'd", "e\\f", "g\nh", "\\.php$", ";"]
    assert words("x ${a}b $c{ # d\ne") == ["x", "${a}b", "$c", "{", "e"]
    assert words("a#b;") == ["a#b", ";"]


@given(st.text(st.sampled_from(" \n;{}'\"\\#$ab")) | st.text())
def test_any_text_is_words_or_refused(text):
    lines = range(1, text.count("\n") + 2)
    with contextlib.suppress(BadWord):
        assert all(word.line in lines for word in split(text))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30), max_size=5))
def test_what_is_quoted_comes_back(texts):
    quoted = " ".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    assert words(quoted) == texts


def test_ip_hash_is_placed_anew(imported):
    text = (
        "events {}\nhttp {\nupstream ide { ip_hash; server 127.0.0.1:4001; server 127.0.0.1:4002; }\n" + SERVER + "}\n"
    )
    outcome, config = imported(text)
    assert (config.pool[0].token.source, config.pool[0].ring.algorithm) == ("client_ip", "nginx")
    message = next(remark.message for remark in outcome.remarks if remark.what == "ip_hash")
    assert "Change nginx to hash $remote_addr consistent first" in message
    assert "about 50% of the users" in message
    assert not outcome.complete
