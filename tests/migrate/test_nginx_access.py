"""What keeps clients out with nginx keeps them out here: as a rule, or the listener is not written."""

import tomllib

import pytest

from balancer.errors import ConfigError
from balancer.migrate.nginx.importer import import_nginx
from balancer.migrate.outcome import Effect, Surroundings

HEAD = "events {}\nhttp {\nupstream ide { hash $arg_token consistent; server 127.0.0.1:4001; }\n"
OTHER = "server { listen 82; location / { proxy_pass http://ide; } }\n"
OFFICE = {"client": ["10.0.0.0/8"]}
OUT = {"not": [OFFICE], "deny": 403}


def imported(server, folder, *, allow_open=False, inner="proxy_pass http://ide;"):
    file = folder / "nginx.conf"
    server = server.replace("PROXY", f"location / {{ {inner} }}")
    file.write_text(f"{HEAD}server {{ listen 81;\n{server}\n}}\n{OTHER}}}\n")
    return import_nginx([file], Surroundings({}, lambda _: [], allow_open))


def rules(found):
    listeners = tomllib.loads(found.text)["listener"]
    return next(each.get("rule", []) for each in listeners if each["bind"] == ["0.0.0.0:81"])


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("allow 10.0.0.0/8; deny all; PROXY", [OUT]),
        ("satisfy any; allow 10.0.0.0/8; deny all; PROXY", [OUT]),
        ("deny 10.0.0.0/8; allow all; PROXY", [{**OFFICE, "deny": 403}]),
        ("PROXY\nlocation /admin { allow 10.0.0.0/8; deny all; proxy_pass http://ide; }",
         [{"path_prefix": ["/admin"], **OUT}]),
        ("PROXY\nlocation /admin { deny all; }", [{"path_prefix": ["/admin"], "deny": 403}]),
        ("PROXY\nlocation = /x { return 404; }", [{"path": ["/x"], "deny": 404}]),
        ("PROXY\nlocation /inner { internal; proxy_pass http://ide; }", [{"path_prefix": ["/inner"], "deny": 404}]),
        ("PROXY\nlocation ~ ^/secret { deny all; }", [{"path_prefix": ["/secret"], "deny": 403}]),
        ("if ($request_method !~ ^(GET|HEAD)$) { return 405; } PROXY",
         [{"not": [{"method": ["GET", "HEAD"]}], "deny": 405}]),
        ("if ($host != a.example) { return 444; } PROXY", [{"not": [{"host": ["a.example"]}], "deny": 403}]),
        ("if ($scheme = http) { return 301 https://$host$request_uri; } PROXY",
         [{"redirect": {"scheme": "https", "code": 301}}]),
        ("return 301 https://b.example$request_uri;",
         [{"redirect": {"scheme": "https", "host": "b.example", "code": 301}}]),
        ("PROXY\nlocation = /up { return 200 ok; }", [{"path": ["/up"], "answer": {"status": 200, "text": "ok"}}]),
        ("location /api { proxy_pass http://ide; }", [{"path_prefix": ["/api"], "pool": "ide"}, {"deny": 404}]),
    ],
)  # fmt: skip
def test_rules_are_carried_over(server, expected, tmp_path):
    assert rules(imported(server, tmp_path)) == expected


def test_limit_except(tmp_path):
    found = imported("PROXY", tmp_path, inner="limit_except GET { allow 10.0.0.0/8; deny all; } proxy_pass http://ide;")
    assert rules(found) == [{"not": [OFFICE, {"method": ["GET", "HEAD"]}], "deny": 403}]


BARRED = {
    "a password": "auth_basic closed; auth_basic_user_file x; PROXY",
    "a password in a location": "PROXY\nlocation /a { auth_basic closed; proxy_pass http://ide; }",
    "a question to a backend": "auth_request /ask; PROXY",
    "a condition": "if ($http_user_agent ~ bot) { return 403; } PROXY",
    "a regular expression": "PROXY\nlocation ~ [.]git { deny all; }",
    "an address in a header": "set_real_ip_from 10.0.0.1; real_ip_header X-Real-IP; allow 10.0.0.0/8; deny all; PROXY",
    "a password for a method": "PROXY\nlocation /a { limit_except GET { auth_basic x; } proxy_pass http://ide; }",
}


@pytest.mark.parametrize("server", BARRED.values(), ids=BARRED)
def test_what_no_rule_can_say_keeps_the_listener_closed(server, tmp_path):
    found = imported(server, tmp_path)
    assert any(remark.effect is Effect.ACCESS for remark in found.remarks)
    assert not found.complete
    assert [each["bind"] for each in tomllib.loads(found.text)["listener"]] == [["0.0.0.0:82"]]
    opened = imported(server, tmp_path, allow_open=True)
    assert len(tomllib.loads(opened.text)["listener"]) == 2
    assert not opened.complete


ASKING = "listen 443 ssl; ssl_certificate a.crt; ssl_certificate_key a.key; ssl_client_certificate ca.pem; "


def test_certificates_of_clients(tmp_path):
    server = f"listen 80; {ASKING}ssl_verify_client optional; ssl_crl a.crl;"
    server += "if ($ssl_client_verify != SUCCESS) { return 403; } PROXY"
    found = tomllib.loads(imported(server, tmp_path).text)["listener"]
    asked = next(each for each in found if "tls" in each)
    assert {key: value for key, value in asked["tls"].items() if key.startswith("client")} == {
        "client": "optional",
        "client_ca": str(tmp_path / "ca.pem"),
        "client_crl": str(tmp_path / "a.crl"),
    }
    assert asked["rule"] == [{"certificate": False, "deny": 403}]
    assert ["0.0.0.0:80"] not in [each["bind"] for each in found]  # all is refused there


@pytest.mark.parametrize(
    "lines",
    [
        ASKING.replace("ssl_client_certificate ca.pem; ", "") + "ssl_verify_client on;",
        ASKING + "ssl_trusted_certificate other.pem; ssl_verify_client on;",
        ASKING + "ssl_verify_client on; ssl_ocsp on;",
        ASKING + "ssl_verify_client on; PROXY }\nserver { listen 443; server_name b.example;",
    ],
)
def test_certificates_that_cannot_be_asked_for_keep_the_listener_closed(lines, tmp_path):
    found = imported(f"{lines} PROXY", tmp_path)
    assert not any("tls" in each for each in tomllib.loads(found.text)["listener"])
    assert any(remark.effect is Effect.ACCESS for remark in found.remarks)


def test_a_file_of_which_nothing_is_left_is_refused_with_the_reason(tmp_path):
    file = tmp_path / "nginx.conf"
    file.write_text(f"{HEAD}server {{ auth_basic x; location / {{ proxy_pass http://ide; }} }}\n}}\n")
    with pytest.raises(ConfigError, match="auth_basic: keeps clients out"):
        import_nginx([file], Surroundings({}, lambda _: []))


def test_regular_expressions_without_other_locations(tmp_path):
    server = (
        "location ~ ^/api { proxy_pass http://127.0.0.1:1; }\nlocation ~ ^/chat$ { proxy_pass http://127.0.0.1:2; }"
    )
    assert rules(imported(server, tmp_path)) == [
        {"path_prefix": ["/api"], "pool": "127.0.0.1-1"},
        {"path": ["/chat"], "pool": "127.0.0.1-2"},
        {"deny": 404},
    ]


def test_streams(tmp_path):
    file = tmp_path / "nginx.conf"
    file.write_text(
        "events {}\nstream { server { listen 81; allow 10.0.0.0/8; deny all; proxy_pass 127.0.0.1:4001; } }\n"
    )
    found = import_nginx([file], Surroundings({}, lambda _: []))
    assert rules(found) == [OUT]


def test_new_directives_for_protocols_are_reported(tmp_path):
    found = imported("http2 on; http3 on; quic_retry on; PROXY", tmp_path)
    assert {remark.what for remark in found.remarks} >= {"http2", "http3", "quic_retry"}


def whole(text, folder):
    file = folder / "nginx.conf"
    file.write_text(text)
    return import_nginx([file], Surroundings({}, lambda _: []))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('$host ~* "^(www\\.)?a\\.example$"', {"host": ["www.a.example", "a.example"]}),
        ("$host ~ ^(a|b)[.]example$", None),
        ("$host ~ ^(a|b)\\.example$", {"host": ["a.example", "b.example"]}),
        ("$host !~ ^a\\.example$", {"not": [{"host": ["a.example"]}]}),
        ("$uri = /x", {"path": ["/x"]}),
        ("$uri ~ ^/x/", {"path_prefix": ["/x/"]}),
        ("$request_uri ~ ^/x/", None),
        ("$http_x = secret", None),
    ],
)
def test_conditions_are_exact_or_not_written(condition, expected, tmp_path):
    found = imported(f"if ({condition}) {{ return 403; }} PROXY", tmp_path)
    if expected is None:
        assert any(remark.effect is Effect.ACCESS for remark in found.remarks)
    else:
        assert rules(found) == [{**expected, "deny": 403}]


@pytest.mark.parametrize(
    ("timeouts", "key", "expected"),
    [
        ("keepalive_timeout 0;", "keep_alive", None),
        ("keepalive_timeout 0; server { keepalive_timeout 5s; listen 83; }", "keep_alive", "5s"),
        ("proxy_read_timeout 0;", "response", None),
        ("proxy_read_timeout 1h;", "response", "1h"),
    ],
)
def test_timeouts_of_zero_are_told(timeouts, key, expected, tmp_path):
    found = whole(f"events {{}}\nhttp {{\n{timeouts}\n{OTHER.replace('ide', '127.0.0.1:1')}}}\n", tmp_path)
    assert tomllib.loads(found.text).get("timeouts", {}).get(key) == expected
    told = [each for each in found.remarks if each.what == timeouts.split()[0] and each.effect is Effect.CHANGED]
    assert bool(told) == (" 0;" in timeouts)


@pytest.mark.parametrize(
    ("http", "inner", "expected"),
    [
        ("", "", 1 << 20),
        ("", "client_max_body_size 10k;", 1 << 20),
        ("", "client_max_body_size 10m;", 10 << 20),
        ("client_max_body_size 10k;", "", 10 << 10),
        ("", "client_max_body_size 0;", None),
    ],
)
def test_bodies_have_the_limit_that_nginx_has_by_default(http, inner, expected, tmp_path):
    server = OTHER.replace("ide", "127.0.0.1:1").replace("{ proxy", f"{{ {inner} proxy")
    found = tomllib.loads(whole(f"events {{}}\nhttp {{\n{http}\n{server}}}\n", tmp_path).text)
    assert found.get("limits", {}).get("max_body_bytes") == expected


def test_challenges_of_acme_are_answered_from_their_folder(tmp_path):
    server = "location /.well-known/acme-challenge/ { root /w; }\nlocation / { return 301 https://$host$request_uri; }"
    found = imported(server, tmp_path)
    listener = next(each for each in tomllib.loads(found.text)["listener"] if each["bind"] == ["0.0.0.0:81"])
    assert listener["acme_challenge"] == {"folder": "/w/.well-known/acme-challenge"}
    assert listener["rule"] == [
        {
            "not": [{"path_prefix": ["/.well-known/acme-challenge/"]}],
            "redirect": {"scheme": "https", "code": 301},
        }
    ]
    assert not [each for each in found.remarks if "location" in each.what]
