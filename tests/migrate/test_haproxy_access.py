"""What keeps clients out with haproxy keeps them out here: as a rule, or the listener is not written."""

import subprocess
import tomllib
from itertools import product
from pathlib import Path

import pytest
from haproxy_rig import BASE, HAPROXY, made, needs_haproxy, outcome, tables
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import ConfigError
from balancer.migrate.match import EVERYTHING, Condition, Match, NoCounterpart, conjunction, merged, negation
from balancer.migrate.outcome import Effect

OFFICE = "10.0.0.0/8"


def front(lines, inner=""):
    """``BASE`` with rules in its frontend and its backend, and a second frontend that stays open."""
    text = BASE.replace("  default_backend ide\n", f"{lines}  default_backend ide\n") + inner
    return text + ("frontend other\n  bind 127.0.0.1:81\n  default_backend two\nbackend two\n  server b 192.0.2.9:80\n")


def rules(text, folder):
    return [
        rule
        for listener in made(text, folder)[0]["listener"]
        if listener["name"] == "www"
        for rule in listener.get("rule", [])
    ]


DENY_OUTSIDERS = [{"not": [{"client": [OFFICE]}], "deny": 403}]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f"  http-request deny unless {{ src {OFFICE} }}\n", DENY_OUTSIDERS),
        (f"  http-request deny if !{{ src {OFFICE} }}\n", DENY_OUTSIDERS),
        ("  acl office src 10.1.2.3/8\n  http-request deny if !office\n", DENY_OUTSIDERS),
        (f"  http-request allow if {{ src {OFFICE} }}\n  http-request deny\n", DENY_OUTSIDERS),
        (f"  tcp-request connection accept if {{ src {OFFICE} }}\n  tcp-request connection reject\n", DENY_OUTSIDERS),
        (f"  tcp-request content reject unless {{ src {OFFICE} }}\n", DENY_OUTSIDERS),
        (f"  http-request silent-drop unless {{ src {OFFICE} }}\n", DENY_OUTSIDERS),
        (f"  http-request deny deny_status 404 unless {{ src {OFFICE} }}\n", [{**DENY_OUTSIDERS[0], "deny": 404}]),
        (f"  http-request tarpit unless {{ src {OFFICE} }}\n", [{**DENY_OUTSIDERS[0], "deny": 500}]),
        (f"  http-request return status 403 unless {{ src {OFFICE} }}\n",
         [{"not": [{"client": [OFFICE]}], "answer": {"status": 403}}]),
        (
            f"  http-request deny if {{ path_beg /admin }} !{{ src {OFFICE} }}\n",
            [{"path_prefix": ["/admin"], "not": [{"client": [OFFICE]}], "deny": 403}],
        ),
        (
            f"  http-request deny unless {{ path_beg /open }} or {{ src {OFFICE} }} METH_POST\n",
            [
                {"not": [{"path_prefix": ["/open"]}, {"client": [OFFICE], "method": ["POST"]}], "deny": 403},
            ],
        ),
        ("  http-request deny if METH_TRACE\n", [{"method": ["TRACE"], "deny": 403}]),
        (
            "  http-request deny if { req.hdr_cnt(x-secret) eq 0 }\n",
            [{"not": [{"header": {"x-secret": True}}], "deny": 403}],
        ),
        ("  http-request deny if FALSE\n", []),
        ("  use_backend none if { path_beg /internal }\n", [{"path_prefix": ["/internal"], "deny": 503}]),
        ("  monitor-uri /up\n", [{"path": ["/up"], "answer": {"text": "Service ready.\n"}}]),
        ("  redirect location /new code 301 if { path /old }\n",
         [{"path": ["/old"], "redirect": {"location": "/new", "code": 301}}]),
        ("  redirect prefix https://b.example/x if { hdr(host) a.example }\n",
         [{"host": ["a.example"], "redirect": {"scheme": "https", "host": "b.example", "prefix": "/x"}}]),
        ("  http-request return status 200 content-type text/html string hello if { path /hi }\n",
         [{"path": ["/hi"], "answer": {"status": 200, "type": "text/html", "text": "hello"}}]),
        ("  use_backend ide if { url_param(token) -m found }\n", [{"query": ["token"], "pool": "ide"}]),
    ],
)  # fmt: skip
def test_rules_are_carried_over(lines, expected, tmp_path):
    text = front(lines)
    if "use_backend ide" in lines:
        text = text.replace("  default_backend ide\n", "  default_backend two\n", 1)
    assert rules(text + "backend none\n", tmp_path) == expected


def test_rules_of_a_backend_hold_for_what_is_sent_there(tmp_path):
    text = front("  use_backend two if { path_beg /two }\n", f"  http-request deny unless {{ src {OFFICE} }}\n")
    assert rules(text, tmp_path) == [{"path_prefix": ["/two"], "pool": "two"}, *DENY_OUTSIDERS]


BARRED = {
    "a password": ("  http-request auth unless { http_auth(users) }\n", ""),
    "a password for the backend": ("", "  http-request auth realm x if !{ src 10.0.0.0/8 }\n"),
    "a regular expression": ("  http-request deny if { path_reg ^/(a|b)/x }\n", ""),
    "an unknown fact": ("  http-request deny unless { ssl_c_s_dn(cn) alice }\n", ""),
    "a case of letters": ("  http-request deny if { path_beg -i /admin }\n", ""),
    "one header of a list": ("  http-request deny unless { hdr(x-key) secret }\n", ""),
    "an exception by an unknown fact": ("  http-request allow if { var(txn.a) -m str x }\n  http-request deny\n", ""),
    "a counter that lets in": (
        "  stick-table type ip size 1k store gpc0\n  http-request deny unless { src_get_gpc0 gt 0 }\n",
        "",
    ),
    "a path after a rewrite": (
        "  http-request set-path /b if { path /a }\n  http-request deny if { path_beg /admin }\n",
        "",
    ),
    "a header that haproxy sets": (
        "  http-request set-header x-ok %[src]\n  http-request deny if !{ req.hdr(x-ok) -m found }\n",
        "",
    ),
    "a black hole": ("  use_backend none if { path_end .php }\n", ""),
    "an answer": ("", "  http-response deny if { status 500 }\n"),
    "an interface": ("  bind 127.0.0.1:82 interface lo\n", ""),
    "the peer in front of a PROXY header": (
        "  bind 127.0.0.1:82 accept-proxy\n  tcp-request connection reject if !{ src 10.0.0.0/8 }\n",
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lines", BARRED.values(), ids=BARRED)
def test_what_no_rule_can_say_keeps_the_listener_closed(lines, tmp_path):
    users = "userlist users\n  user a insecure-password b\n"
    text = users + front(*lines) + "backend none\n"
    found = outcome(text, tmp_path)
    assert [remark for remark in found.remarks if remark.effect is Effect.ACCESS]
    assert not found.complete
    binds = [bind for listener in made(text, tmp_path)[0]["listener"] for bind in listener["bind"]]
    assert ("127.0.0.1:82" if "127.0.0.1:82" in lines[0] else "127.0.0.1:80") not in binds
    assert "127.0.0.1:81" in binds

    opened = outcome(text, tmp_path, allow_open=True)
    assert 'bind = ["127.0.0.1:80' in opened.text
    assert not opened.complete


def test_certificates_of_clients_keep_the_listener_closed(tmp_path):
    for options in ("verify required ca-file @system-ca", "verify required ca-file a.pem ca-verify-file b.pem"):
        text = front("").replace("bind 127.0.0.1:80", f"bind 127.0.0.1:443 ssl crt a.pem {options}")
        assert [each["name"] for each in tables(outcome(text, tmp_path))] == ["other"]
    (tmp_path / "list").write_text("a.pem [verify required ca-file a.pem]\n")
    text = front("").replace("bind 127.0.0.1:80", f"bind 127.0.0.1:443 ssl crt-list {tmp_path}/list")
    assert [each["name"] for each in tables(outcome(text, tmp_path))] == ["other"]


def test_a_file_of_which_nothing_is_left_is_refused_with_the_reason(tmp_path):
    text = BASE.replace("  default_backend", "  http-request auth\n  default_backend")
    with pytest.raises(ConfigError, match=r":5: http-request auth: keeps clients out, "):
        outcome(text, tmp_path)


def test_a_page_of_statistics_is_no_second_door(tmp_path):
    text = BASE.replace("  mode http\n", "  mode http\n  default_backend ide\n", 1) + (
        "listen stats\n  bind 127.0.0.1:81\n  stats uri /\n"
        "frontend more\n  bind 127.0.0.1:82\n  stats uri /haproxy?stats\n"
    )
    found = made(text, tmp_path)[0]["listener"]
    assert [(each["name"], each.get("rule")) for each in found] == [
        ("www", None),
        ("more", [{"path_prefix": ["/haproxy"], "query": ["stats"], "answer": {"status": 404, "text": "Not Found\n"}}]),
    ]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("{ hdr_dom(host) -i api }", None),
        ("{ hdr_end(host) -i dev.ide.example }", None),
        ("{ hdr_end(host) -i .ide.example }", [{"host": ["*.ide.example"]}]),
        ("{ hdr(host) -i ide.example:23010 }", None),
        ("{ path_beg /a } { path_beg /a/b /c }", [{"path_prefix": ["/a/b"]}]),
    ],
)
def test_conditions_are_exact_or_left_out(condition, expected, tmp_path):
    config, told = made(front(f"  use_backend two if {condition}\n"), tmp_path)
    found = [{k: v for k, v in each.items() if k != "pool"} for each in config["listener"][0].get("route", [])]
    assert (found or None) == expected
    assert (5 in told) == (expected is None)


def test_certificates_of_clients(tmp_path):
    """Asked for on one address, conditions on them never hold on the other."""
    asking = "bind 127.0.0.1:443 ssl crt a.pem verify optional ca-file ca.pem crl-file ca.crl"
    lines = "  http-request deny if { path_beg /a } !{ ssl_c_used }\n  use_backend two if { ssl_fc_has_crt }\n"
    text = front(lines).replace("bind 127.0.0.1:80", f"bind 127.0.0.1:80\n  {asking}")
    plain, asked = tables(outcome(text, tmp_path))[:2]
    assert {key: value for key, value in asked["tls"].items() if key.startswith("client")} == {
        "client": "optional",
        "client_ca": str(Path("ca.pem").absolute()),
        "client_crl": str(Path("ca.crl").absolute()),
    }
    deny = {"path_prefix": ["/a"], "deny": 403}
    assert asked["rule"] == [deny | {"certificate": False}, {"certificate": True, "pool": "two"}]
    assert plain["rule"] == [deny]


@pytest.mark.parametrize(
    ("lines", "rules"),
    [
        ("tcp-request content reject if !{ req.ssl_hello_type 1 }", [{"tls": False, "deny": 403}]),
        (
            "tcp-request content accept if { req_ssl_hello_type 1 }\n  tcp-request content reject",
            [{"tls": False, "deny": 403}],
        ),
        ("use_backend two if !{ req.ssl_hello_type 1 }", [{"tls": False, "pool": "two"}]),
        (
            "use_backend two if { req.ssl_hello_type 1 } !{ req.ssl_sni a.example }",
            [{"tls": True, "not": [{"sni": ["a.example"]}], "pool": "two"}],
        ),
        ("tcp-request inspect-delay 5s\n  tcp-request content accept if { req.ssl_hello_type 1 }", []),
    ],
)
def test_whether_a_client_speaks_tls(lines, rules, tmp_path):
    text = front(f"  {lines}\n").replace("mode http", "mode tcp").replace("url_param token", "source")
    found = outcome(text, tmp_path)
    assert tables(found)[0].get("rule", []) == rules
    assert found.complete


@needs_haproxy
def test_haproxy_takes_all_of_it(tmp_path):
    for lines in BARRED.values():
        file = tmp_path / "haproxy.cfg"
        file.write_text("userlist users\n  user a insecure-password b\n" + front(*lines) + "backend none\n")
        done = subprocess.run([HAPROXY, "-c", "-q", "-f", file], capture_output=True, check=False)
        assert (done.returncode, b"ALERT" in done.stderr) == (0, False), (lines, done.stderr)


HOSTS, PATHS, METHODS = ("a.b", "x.a.b", "c"), ("/", "/a", "/a/b", "/c"), ("GET", "POST")
CLIENTS, QUERIES = ("10.1.0.1", "10.2.0.1", "11.0.0.1"), ((), ("t",), ("t", "u"))


def some(*values):
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


CONDITIONS = st.builds(
    Condition,
    host=some("a.b", "*.a.b", "*.b", "c"),
    path=some("/a", "/a/b"),
    path_prefix=some("/a", "/a/b", "/c"),
    method=some("GET", "POST"),
    query=some("t", "u"),
    client=some("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"),
)
MATCHES = st.builds(Match, CONDITIONS, st.lists(CONDITIONS.filter(lambda c: c != EVERYTHING), max_size=2).map(tuple))
REQUESTS = list(product(HOSTS, PATHS, METHODS, QUERIES, CLIENTS))


def holds(condition, request):
    host, path, method, query, client = request
    return (
        (not condition.host or any(host == p or (p[0] == "*" and host.endswith(p[1:])) for p in condition.host))
        and (
            not (condition.path or condition.path_prefix)
            or path in condition.path
            or path.startswith(condition.path_prefix)
        )
        and (not condition.method or method in condition.method)
        and set(condition.query) <= set(query)
        and (not condition.client or any(client.startswith(CLIENT_PREFIX[each]) for each in condition.client))
    )


CLIENT_PREFIX = {"10.0.0.0/8": "10.", "10.1.0.0/16": "10.1.", "11.0.0.0/8": "11."}


def any_holds(matches, request):
    return any(
        holds(each.when, request) and not any(holds(other, request) for other in each.unless) for each in matches
    )


@given(st.lists(MATCHES, max_size=2), st.lists(MATCHES, max_size=2))
def test_and_and_not_mean_what_they_say(one, other):
    both, neither, together = conjunction(one, other), negation(one), merged([*one, *other])
    for request in REQUESTS:
        mine, others = any_holds(one, request), any_holds(other, request)
        assert any_holds(both, request) == (mine and others)
        assert any_holds(neither, request) == (not mine)
        assert any_holds(together, request) == (mine or others)


def test_two_values_of_a_field_are_no_condition():
    one, other = (Match(Condition(header=(("x", value),))) for value in "ab")
    with pytest.raises(NoCounterpart, match="two values of the field x"):
        one.both(other)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("hdr(X-Key)", "http-request set-header X-Key %[url_param(token)]"),
        ("hdr(x-key)", "http-request add-header X-Key a if { path /a }"),
        ("hash req.hdr(X-Key)", "http-request replace-header X-Key (.*) \\1"),
        ("hash req.cook(sid)", "http-request del-header Cookie"),
        ("uri", "http-request set-path /a"),
        ("url_param token", "http-request set-query token=a"),
        ("source", "http-request set-src req.hdr(x-real-ip)"),
        ("hdr(X-Forwarded-For)", "option forwardfor"),
        ("hdr(X-Id)", "unique-id-header X-Id"),
    ],
)
def test_a_client_never_chooses_the_key_that_haproxy_computes(key, rule, tmp_path):
    text = BASE.replace("balance url_param token\n", f"balance {key}\n")
    assert outcome(text, tmp_path)
    with pytest.raises(ConfigError, match="clients could choose their host"):
        outcome(text.replace("  default_backend", f"  {rule}\n  default_backend"), tmp_path)


def test_no_timeout_is_no_timeout(tmp_path):
    names = ("connect", "client", "server", "tunnel", "queue", "check", "http-request", "client-hs")
    text = BASE.replace("  mode http\n", "  mode http\n" + "".join(f"  timeout {name} 0\n" for name in names))
    config, _ = made(f"global\n  maxconn 0\n{text}  server b 192.0.2.2:80 check maxconn 5\n", tmp_path)
    assert config["timeouts"] == dict.fromkeys(
        ("handshake", "head", "connect", "response", "idle", "tunnel_idle"), "365d"
    )
    pool = config["pool"][0]
    assert (pool["queue_timeout"], pool["health"]["timeout"], config.get("limits")) == ("365d", "2s", None)


def test_old_spellings_and_overlapping_addresses_are_taken(tmp_path):
    old = "  contimeout 5000\n  clitimeout 0\n  srvtimeout 7s\n"
    text = BASE.replace("  mode http\n", f"  mode http\n{old}").replace("127.0.0.1:80", "*:80\n  bind [::]:80")
    config, told = made(text.replace("  default_backend", "  block if METH_TRACE\n  default_backend"), tmp_path)
    assert config["timeouts"] == {"connect": "5s", "idle": "365d", "response": "7s", "tunnel_idle": "365d"}
    assert config["listener"][0]["bind"] == ["0.0.0.0:80", "[::]:80"]
    assert config["listener"][0]["rule"] == [{"method": ["TRACE"], "deny": 403}]
    assert {told[line] for line in (3, 4, 5, 9)} == {"contimeout", "clitimeout", "srvtimeout", "block"}


LISTEN = """
defaults
  mode http
frontend www
  bind 127.0.0.1:80
  default_backend app
listen app
  bind 127.0.0.1:81
  monitor-uri /up
  tcp-request connection reject if { src 10.0.0.0/8 }
  http-request deny if { path_beg /admin }
  http-request set-header X-A b
  http-request add-header X-B c
  server a 192.0.2.1:80
"""


def test_a_listen_that_another_frontend_leads_to(tmp_path):
    """Its rules and fields count there too, but not those of its own addresses."""
    found = outcome(LISTEN, tmp_path)
    www, app = tables(found)
    deny = {"path_prefix": ["/admin"], "deny": 403}
    assert www["rule"] == [deny]
    assert deny in app["rule"]
    assert len(app["rule"]) == 3
    pool = tomllib.loads(found.text)["pool"][0]
    assert pool["request_fields"] == {"set": {"X-A": "b"}}
    assert app["request_fields"]["add"] == {"X-B": "c"}
    assert any("adds header fields (x-b)" in each.message for each in found.remarks)


def test_a_listener_that_only_redirects_to_https(tmp_path):
    redirect = "redirect scheme https code 308 unless { ssl_fc }"
    text = BASE.replace("bind 127.0.0.1:80", f"bind 127.0.0.1:80\n  bind 127.0.0.1:443 ssl crt a.pem\n  {redirect}")
    acme = "  use_backend certbot if { path_beg /.well-known/acme-challenge/ }\n"
    plain, over_tls = tables(outcome(text, tmp_path))
    assert (plain["redirect"], "pool" in plain, "rule" in plain) == ("https", False, False)
    assert over_tls["pool"] == "ide"
    text = text.replace("  default_backend", f"{acme}  default_backend") + "backend certbot\n  server c 192.0.2.9:80\n"
    assert tables(outcome(text, tmp_path))[1]["acme_challenge"] == {"pool": "certbot"}
    kept = tables(outcome(text.replace("code 308", "code 301"), tmp_path))[0]
    assert kept["rule"][0]["redirect"] == {"scheme": "https", "code": 301}
