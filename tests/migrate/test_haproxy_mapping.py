"""What each part of haproxy's configuration becomes."""

from pathlib import Path

import pytest
from haproxy_rig import BASE, Authority, made, outcome

from balancer.errors import ConfigError

TLS = BASE.replace("bind 127.0.0.1:80\n", "bind 127.0.0.1:443 ssl crt @\n")


def backend(lines, folder, **environment):
    """The pool of ``BASE`` with more lines, and what was told."""
    config, told = made(BASE + lines, folder, **environment)
    return config["pool"][0], told


def listeners(text, folder):
    return made(text, folder)[0]["listener"]


def front(lines):
    return BASE.replace("  default_backend ide\n", f"{lines}  default_backend ide\n") + (
        "backend two\n  balance url_param token\n  server b 192.0.2.9:80\n"
    )


@pytest.fixture
def certificates(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    authority = Authority(folder)
    for name in ("a.example", "b.example"):
        authority.issue(name)
    both = Path(folder / "b.example.crt").read_bytes() + Path(folder / "b.example.key").read_bytes()
    (folder / "b.pem").write_bytes(both)
    return folder


@pytest.mark.parametrize(
    ("address", "bind"),
    [
        (":81", ["0.0.0.0:81"]),
        ("*:81,127.0.0.1:82", ["0.0.0.0:81", "127.0.0.1:82"]),
        ("127.0.0.1:81-83", ["127.0.0.1:81", "127.0.0.1:82", "127.0.0.1:83"]),
        ("[::1]:81", ["[::1]:81"]),
        ("::1:81", ["[::1]:81"]),
        (":::81", ["0.0.0.0:81", "[::]:81"]),
        ("ipv4@127.0.0.1:81", ["127.0.0.1:81"]),
        (":::81 v6only", ["[::]:81"]),
    ],
)
def test_addresses_to_listen_on(address, bind, tmp_path):
    assert listeners(BASE.replace("127.0.0.1:80", address), tmp_path)[0]["bind"] == bind


def test_certificates(certificates, tmp_path):
    def pairs(crt):
        tls = listeners(TLS.replace("@", crt), tmp_path)[0]["tls"]
        return [(Path(each["cert"]).name, Path(each["key"]).name) for each in tls["certificates"]]

    assert pairs(f"{certificates}/b.pem") == [("b.pem", "b.pem")]
    assert pairs(f"{certificates}/a.example.crt") == [("a.example.crt", "a.example.key")]
    (certificates / "authority.pem").unlink()
    assert pairs(str(certificates)) == [
        ("a.example.crt", "a.example.key"),
        ("b.example.crt", "b.example.key"),
        ("b.pem", "b.pem"),
    ]
    for suffix in ("rsa", "ecdsa"):
        (certificates / f"both.pem.{suffix}").write_bytes((certificates / "b.pem").read_bytes())
    bundle = [("both.pem.ecdsa", "both.pem.ecdsa"), ("both.pem.rsa", "both.pem.rsa")]
    assert pairs(f"{certificates}/both.pem") == bundle
    (tmp_path / "list.txt").write_text("# all\nb.pem [alpn h2] *.b.example !x.b.example\n\na.example.crt\n")
    text = f"global\n  crt-base {certificates}\n" + TLS.replace("crt @", f"crt-list {tmp_path}/list.txt crt b.pem")
    config, told = made(text, tmp_path)
    tls = config["listener"][0]["tls"]
    assert [Path(each["cert"]).name for each in tls["certificates"]] == ["b.pem", "a.example.crt"]
    assert told[2] == "crt-list"


@pytest.mark.parametrize(
    ("words", "version"),
    [("", "1.2"), ("ssl-min-ver TLSv1.3", "1.3"), ("no-tlsv12", "1.3"), ("force-tlsv13", "1.3"), ("no-sslv3", "1.2")],
)
def test_versions_of_tls(words, version, certificates, tmp_path):
    pem = f"{certificates}/b.pem"
    assert listeners(TLS.replace("@", f"{pem} {words}"), tmp_path)[0]["tls"]["min_version"] == version
    by_default = f"global\n  ssl-default-bind-options {words}\n" + TLS.replace("@", pem)
    assert listeners(by_default, tmp_path)[0]["tls"]["min_version"] == version


def test_clear_text_and_tls_are_two_listeners(certificates, tmp_path):
    text = TLS.replace("@", f"{certificates}/b.pem\n  bind 127.0.0.1:80")
    assert [(each["name"], each["bind"], "tls" in each) for each in listeners(text, tmp_path)] == [
        ("www", ["127.0.0.1:443"], True),
        ("www-2", ["127.0.0.1:80"], False),
    ]
    for rule, code in (
        ("redirect scheme https if !{ ssl_fc }", {}),
        ("http-request redirect scheme https code 301 unless { ssl_fc }", {"code": 301}),
    ):
        found, told = made(text.replace("  default", f"  {rule}\n  default"), tmp_path)
        assert [each.get("rule") for each in found["listener"]] == [None, [{"redirect": {"scheme": "https", **code}}]]
        assert 5 not in told


@pytest.mark.parametrize(
    ("lines", "routes"),
    [
        ("  use_backend two if { path_beg /a /b }\n", [{"path_prefix": ["/a", "/b"]}]),
        ("  use_backend two if { path -m beg /a } or { path /b }\n", [{"path_prefix": ["/a"]}, {"path": ["/b"]}]),
        ("  use_backend two if { hdr(host) -i A.example b.example }\n", [{"host": ["a.example", "b.example"]}]),
        ("  use_backend two if { req.hdr(host),lower -m end .a.example }\n", [{"host": ["*.a.example"]}]),
        ("  acl x hdr(host) a\n  acl x hdr(host) b\n  use_backend two if x\n", [{"host": ["a", "b"]}]),
        (
            "  acl h hdr(host) a.example\n  acl p path_beg /x\n  use_backend two if h p || h { path /y }\n",
            [{"host": ["a.example"], "path_prefix": ["/x"]}, {"host": ["a.example"], "path": ["/y"]}],
        ),
        ("  use_backend two if { ssl_fc }\n", []),
        ("  use_backend two if !{ ssl_fc } { path /z }\n", [{"path": ["/z"]}]),
        ("  use_backend two if { ssl_fc_sni a.example }\n", []),
        ("  use_backend two if TRUE { path /z }\n", [{"path": ["/z"]}]),
    ],
)
def test_routes(lines, routes, tmp_path):
    found = listeners(front(lines), tmp_path)[0]
    assert found["pool"] == "ide"
    assert found.get("route", []) == [{**route, "pool": "two"} for route in routes]


@pytest.mark.parametrize(
    "condition",
    [
        "{ path_reg ^/x }",
        "{ path_end .php }",
        "{ path_beg -i /x }",
        "{ hdr_beg(host) www. }",
        "{ hdr(host) -m reg . }",
        "{ hdr(cookie) x }",
        "{ path,lower /x }",
        "{ hdr_dom(host) -i a.example }",
        "{ hdr_end(host) -i dev.a.example }",
        "{ hdr(host) -i a.example:81 }",
        "{ hdr(x-user) alice }",
        "{ ssl_c_s_dn(cn) alice }",
    ],
)
def test_conditions_no_route_can_say(condition, tmp_path):
    config, told = made(front(f"  use_backend two if {condition}\n"), tmp_path)
    assert "route" not in config["listener"][0]
    assert told[5] == "use_backend"


def test_no_request_is_read_in_mode_tcp(tmp_path):
    text = (
        front("  use_backend two if { path /x }\n")
        .replace("mode http", "mode tcp")
        .replace("url_param token", "source")
    )
    config, told = made(text, tmp_path)
    assert "route" not in config["listener"][0]
    assert told[5] == "use_backend"


def test_rules_after_one_without_a_condition_never_count(tmp_path):
    found = listeners(front("  use_backend two\n  use_backend ide if { path /x }\n"), tmp_path)[0]
    assert (found["pool"], found.get("route")) == ("two", None)


def test_a_rule_that_leads_to_a_disabled_backend(tmp_path):
    text = front("  use_backend two if { path /x }\n") + "  disabled\n"
    config, told = made(text, tmp_path)
    assert [pool["name"] for pool in config["pool"]] == ["ide"]
    assert config["listener"][0]["rule"] == [{"path": ["/x"], "deny": 503}]
    assert told == {5: "use_backend", 7: "backend ide", 10: "backend two"}


def test_maps(tmp_path):
    """A name that no route can have leaves the whole line out."""
    (tmp_path / "map").write_text("# host backend\na.example two\nb.example  ide\n")
    line = f"  use_backend %[req.hdr(host),lower,map({tmp_path}/map,two)] if {{ path_beg /x }}\n"
    route = {"path_prefix": ["/x"]}
    assert listeners(front(line), tmp_path)[0]["route"] == [
        {"host": ["a.example"], **route, "pool": "two"},
        {"host": ["b.example"], **route, "pool": "ide"},
        {**route, "pool": "two"},
    ]
    (tmp_path / "map").write_text("a.example two\n.b. ide\n")
    config, told = made(front(line), tmp_path)
    assert "route" not in config["listener"][0]
    assert told[5] == "use_backend"


def test_patterns_from_files(tmp_path):
    (tmp_path / "hosts").write_text("# ours\na.example\n\nb.example\n")
    found = listeners(front(f"  use_backend two if {{ hdr(host) -i -f {tmp_path}/hosts }}\n"), tmp_path)[0]
    assert found["route"] == [{"host": ["a.example", "b.example"], "pool": "two"}]
    with pytest.raises(ConfigError, match=r":5: use_backend: .*none cannot be read"):
        outcome(front(f"  use_backend two if {{ hdr(host) -f {tmp_path}/none }}\n"), tmp_path)


def test_without_a_default_the_rest_is_refused(tmp_path):
    text = front("  use_backend two if { path /x }\n").replace("  default_backend ide\n", "")
    config, told = made(text, tmp_path)
    assert config["listener"][0]["rule"] == [{"path": ["/x"], "pool": "two"}, {"deny": 503}]
    assert 3 not in told


@pytest.mark.parametrize(
    ("lines", "health"),
    [
        ("", None),
        ("  option httpchk\n", {"type": "http", "method": "OPTIONS", "path": "/"}),
        ("  option httpchk /up\n", {"type": "http", "method": "OPTIONS", "path": "/up"}),
        ("  option httpchk HEAD /up HTTP/1.0\n", {"type": "http", "method": "HEAD", "path": "/up"}),
        (
            '  option httpchk GET /up "HTTP/1.1\\r\\nHost: a.example"\n',
            {"type": "http", "method": "GET", "path": "/up", "host": "a.example"},
        ),
        (
            "  option httpchk\n  http-check send meth GET uri /v ver HTTP/1.1 hdr Host x\n",
            {"method": "GET", "path": "/v", "host": "x"},
        ),
        ("  option httpchk\n  http-check expect status 200-399\n", {"expect_status": ["2xx", "3xx"]}),
        ("  option httpchk\n  http-check expect status 200,404\n", {"expect_status": [200, 404]}),
        ("  option httpchk\n  http-check expect ! rstatus ^5\n", {"expect_status": ["2xx", "3xx", "4xx"]}),
        ("  option httpchk\n  http-check expect rstatus 2..\n", {"expect_status": ["2xx"]}),
        ("  option httpchk GET /\n  http-check expect string all\\ well\n", {"expect_body": "all well"}),
        ("  option httpchk\n  http-check disable-on-404\n", {"drain_on_404": True}),
        ("  option tcp-check\n", {"type": "tcp"}),
        ("  option ssl-hello-chk\n", {"type": "tls", "tls": {"verify": False}}),
        ("  option mysql-check\n", {"type": "tcp"}),
        ("  option httpchk\n  option tcp-check\n", {"type": "tcp"}),
        ("  timeout check 500\n", {"timeout": "500ms", "interval": "2s", "rise": 2, "fall": 3}),
    ],
)
def test_checks(lines, health, tmp_path):
    pool, _ = backend(lines + ("  server c 192.0.2.3:80 check\n" if health else ""), tmp_path)
    assert {key: pool.get("health", {}).get(key) for key in health or ()} == (health or {})
    assert ("health" in pool) == (health is not None)
    if health:
        assert [each.get("check", True) for each in pool["backend"]] == [False, True]


def test_times_of_checks_are_the_pools_where_most_agree(tmp_path):
    lines = (
        "  default-server check inter 5s fastinter 1s fall 4\n  server b 192.0.2.2:80\n  server c 192.0.2.3:80\n"
        "  server d 192.0.2.4:80 inter 10s rise 5\n  server e 192.0.2.5:80 no-check\n"
    )
    pool, _ = backend(lines, tmp_path)
    assert {key: pool["health"][key] for key in ("interval", "fast_interval", "rise", "fall")} == {
        "interval": "5s",
        "fast_interval": "1s",
        "rise": 2,
        "fall": 4,
    }
    assert [each.get("health") for each in pool["backend"]] == [None, None, None, {"interval": "10s", "rise": 5}, None]
    assert [each.get("check") for each in pool["backend"]] == [False, None, None, None, False]


@pytest.mark.parametrize(
    ("words", "where", "expected"),
    [
        ("check port 81", ("backend", 1, "check_address"), "192.0.2.2:81"),
        ("check addr 192.0.2.7", ("backend", 1, "check_address"), "192.0.2.7:80"),
        ("check on-marked-down shutdown-sessions", ("health", "on_down"), "close"),
        ("check slowstart 90s", ("health", "slow_start"), "90s"),
        ("check", ("health", "panic_threshold"), 0.0),
        ("check agent-check agent-port 99 agent-inter 3s", ("health", "agent"), {"port": 99, "interval": "3s"}),
        (
            "check observe layer7 on-error mark-down error-limit 7",
            ("health", "passive"),
            {
                "mode": "on",
                "outcomes": ["connect", "timeout", "reset", "5xx"],
                "consecutive": 7,
                "failure_rate": 0.0,
            },
        ),
        ("backup", ("backend", 1, "backup"), True),
        ("disabled weight 9", ("backend", 1, "weight"), 0),
        ("weight 9", ("backend", 1, "weight"), 9),
        ("", ("backend", 1, "id"), 2),
        ("id 50", ("backend", 1, "id"), 50),
        ("hash-key addr", ("ring", "hash_key"), "addr"),
        ("guid x hash-key guid", ("backend", 1, "guid"), "x"),
    ],
)
def test_options_of_servers(words, where, expected, tmp_path):
    text = BASE.replace("  server a 192.0.2.1:80\n", "")
    if "hash-key" not in words:
        text += "  server a 192.0.2.1:80\n"
    pool = made(f"{text}  server b 192.0.2.2:80 {words}\n", tmp_path)[0]["pool"][0]
    if "hash-key" in words:
        where = tuple(0 if each == 1 else each for each in where)
    found = pool
    for key in where:
        found = found[key]
    assert found == expected


@pytest.mark.parametrize(
    ("words", "token"),
    [
        ("url_param t", {"param": "t", "duplicates": "first"}),
        ("hdr(X-User)", {"source": "header", "header": "X-User", "duplicates": "first"}),
        ("hash req.hdr(X-User)", {"source": "header", "header": "X-User", "duplicates": "last"}),
        ("hash req.cook(sid)", {"source": "cookie", "cookie": "sid", "duplicates": "last"}),
        ("hash path", {"source": "path"}),
        ("uri", {"source": "path"}),
        ("uri whole", {"source": "uri"}),
        ("uri len 9 depth 2", {"source": "path", "leading_bytes": 9, "depth": 2}),
        ("source", {"source": "client_ip"}),
    ],
)
def test_what_users_are_told_apart_by(words, token, tmp_path):
    config, told = made(BASE.replace("url_param token", words), tmp_path)
    found = config["pool"][0]["token"]
    assert {key: found[key] for key in token} == token
    assert (7 in told) == (token.get("param") == "token")
    assert config["pool"][0]["ring"]["algorithm"] == ("ring" if 7 in told else "haproxy")


def test_limits_and_retries(tmp_path):
    lines = (
        "  default-server maxconn 40 maxqueue 7\n  server b 192.0.2.2:80\n  server c 192.0.2.3:80\n"
        "  server d 192.0.2.4:80 maxconn 5 maxqueue 9\n  timeout connect 3s\n  retries 5\n"
    )
    text = BASE.replace("  server a 192.0.2.1:80\n", lines)
    config, told = made(text, tmp_path)
    pool = config["pool"][0]
    assert (pool["max_connections"], pool["queue"], pool["queue_timeout"]) == (40, 9, "3s")
    assert [each.get("max_connections") for each in pool["backend"]] == [None, None, 5]
    assert pool["retry"] == {"count": 5}
    assert told == {6: "backend ide"}
    config, told = made(f"{text}  timeout queue 9s\n  option redispatch\n", tmp_path)
    assert (config["pool"][0]["queue_timeout"], told) == ("9s", {})
    _, told = made(f"{BASE}  timeout queue 9s\n  option redispatch\n", tmp_path)
    assert told == {9: "timeout queue"}


def test_refusals_by_rate_have_a_counterpart(tmp_path):
    rules = (
        "  tcp-request connection reject if { src_conn_rate ge 50 }\n  http-request deny if { sc0_conn_cur gt 9 }\n"
        "  http-request deny if { path /x }\n"
    )
    found = outcome(BASE.replace("backend ide\n  balance", f"{rules}backend ide\n  balance"), tmp_path)
    told = {remark.line: remark.message for remark in found.remarks}
    assert "limits.client_rate" in told[6]
    assert "limits.max_connections_per_client" in told[7]


def test_tls_and_proxy_headers_to_servers(tmp_path, certificates):
    text = BASE.replace(
        "  server a 192.0.2.1:80\n", "  default-server ssl verify required ca-file ca.pem send-proxy-v2\n"
    )
    text += "  server a 192.0.2.1:443 sni str(a.example)\n  server b 192.0.2.2:443 sni str(b.example)\n"
    (certificates / "ca.pem").write_bytes((certificates / "authority.pem").read_bytes())
    pool = made(f"global\n  ca-base {certificates}\n{text}", tmp_path)[0]["pool"][0]
    assert pool["tls"] == {"enabled": True, "ca_file": f"{certificates}/ca.pem"}
    assert pool["send_proxy"] == "v2"
    assert [each["server_name"] for each in pool["backend"]] == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ("  server b 192.0.2.2:80 ssl verify none\n", "does not: move it to its own backend section"),
        ("  server b 192.0.2.2:80 send-proxy\n", "a pool has one value"),
        ("  server b nowhere.example:80\n", "cannot be resolved here"),
        ("  server b *:80\n", "the address that the client connected to"),
        ("  server b 192.0.2.2:80 check addr checks.example\n", "is not an IP address"),
        ("  server b 192.0.2.2:80 hash-key addr\n", "a pool has one value of"),
        ("frontend more\n  bind 127.0.0.1:80\n  default_backend ide\n", "is bound already in line"),
    ],
)
def test_what_would_place_users_elsewhere_is_refused(lines, part, tmp_path):
    with pytest.raises(ConfigError) as caught:
        outcome(BASE + lines, tmp_path)
    assert part in str(caught.value)


def test_names_and_templates(tmp_path):
    pool, told = backend("  server-template t 2-4 hosts.example:81 id 9\n  server o one.example:82\n", tmp_path)
    assert [(each["name"], each["address"], each["id"]) for each in pool["backend"]] == [
        ("a", "192.0.2.1:80", 1),
        ("t2", "192.0.2.1:81", 9),
        ("t3", "192.0.2.2:81", 3),
        ("o", "[2001:db8::1]:82", 5),
    ]
    assert told[9] == "server-template t4"


def test_two_servers_of_one_address(tmp_path):
    pool, _ = backend("  server b 192.0.2.1:80\n", tmp_path)
    assert [(each["name"], each["address"], each["id"]) for each in pool["backend"]] == [
        ("a", "192.0.2.1:80", 1),
        ("b", "192.0.2.1:80", 2),
    ]


def test_a_server_without_a_port_has_that_of_the_frontend(tmp_path):
    pool, _ = backend("  server b 192.0.2.2\n  server c 192.0.2.3:+1000\n", tmp_path)
    assert [each["address"] for each in pool["backend"]] == ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:1080"]


def test_the_whole_daemon(tmp_path):
    text = (
        "global\n  nbthread 3\n  maxconn 700\n  hard-stop-after 5m\n  close-spread-time 9s\n  tune.bufsize 65536\n"
        + BASE.replace("  mode http\n", "  mode http\n  timeout client 1m\n  timeout server 90s\n  maxconn 50\n")
        + "  timeout server 2m\n  timeout connect 4000\n"
    )
    config, told = made(text, tmp_path)
    assert (config["workers"], config["limits"]) == (3, {"max_connections": 700, "max_head_bytes": 65536})
    assert config["timeouts"] == {
        "connect": "4s",
        "response": "2m",
        "idle": "1m",
        "tunnel_idle": "2m",
        "drain": "5m",
        "close_spread": "9s",
    }
    assert config["listener"][0]["max_connections"] == 50
    assert told[10] == "timeout server"


@pytest.mark.parametrize(
    ("lines", "ours"),
    [
        (("client 1m", "http-request 5s", "http-keep-alive 9s"), {"head": "5s", "idle": "1m", "keep_alive": "9s"}),
        (("client 1m", "http-request 5s"), {"head": "5s", "idle": "1m", "keep_alive": "5s"}),
        (("client 1m",), {"idle": "1m"}),
    ],
)
def test_the_timeout_between_requests(tmp_path, lines, ours):
    given = "".join(f"  timeout {line}\n" for line in lines)
    config, _ = made(BASE.replace("  mode http\n", f"  mode http\n{given}"), tmp_path)
    timeouts = config["timeouts"]
    assert {key: timeouts[key] for key in ("head", "idle", "keep_alive") if key in timeouts} == ours


def test_the_page_of_statistics_is_where_the_admin_listener_is(tmp_path):
    config, told = made(f"{BASE}listen stats\n  bind :8404\n  stats enable\n", tmp_path)
    assert config["admin"]["listen"] == "127.0.0.1:8404"
    assert [each["name"] for each in config["listener"]] == ["www"]
    assert told == {6: "backend ide", 9: "listen stats", 11: "stats enable"}
    config, _ = made(BASE.replace("  default", "  stats uri /stats\n  default"), tmp_path)
    assert config["admin"]["listen"] == "127.0.0.1:9600"


def test_secrets_stay_where_they_are(tmp_path):
    text = (
        BASE.replace(
            "  default",
            "  stats auth admin:hunter2\n  http-request set-header Authorization %[src,map(hunter2)]\n  default",
        )
        + "userlist people\n  user me insecure-password hunter2\n"
    )
    found = outcome(text, tmp_path)
    assert "hunter2" not in found.text + "".join(map(str, found.remarks))
    assert [remark.line for remark in found.remarks] == [5, 6, 8, 11, 12]


def test_names_our_file_does_not_allow(tmp_path):
    config, _ = made(BASE.replace("ide", "ide:1").replace("www", "_www") + "  server a:b 192.0.2.2:80\n", tmp_path)
    assert config["listener"][0]["name"] == "www"
    assert config["pool"][0]["name"] == "ide-1"
    assert [each["name"] for each in config["pool"][0]["backend"]] == ["a", "a-b"]
