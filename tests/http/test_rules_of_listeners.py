"""Rules: spelled out plainly, and hosts and paths in every spelling a client may choose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.settings import Answer, ConditionSettings, Deny, RuleSettings, ToPool
from balancer.errors import ProxyError
from balancer.http import rules as module
from balancer.http.head import Request, parse_request
from balancer.http.rules import Rules, normalized_path


def chosen(routes, target=b"/", host=b"ide.example", server_name=""):
    request = Request(b"GET", target, 1)
    request.host = host
    action = routes.of_request(request, server_name, "192.0.2.1")
    return action and action.name


def rule(pool, **keys):
    return RuleSettings(ToPool(pool), ConditionSettings(**{key: tuple(value) for key, value in keys.items()}))


def one(**keys):
    return Rules([rule("there", **keys)])


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("ide.example", b"ide.example", True),
        ("ide.example", b"IDE.Example:8443", True),
        ("ide.example", b"ide.example.:443", True),
        ("ide.example", b"a.ide.example", False),
        ("ide.example", b"xide.example", False),
        ("ide.example", b"", False),
        ("*.ide.example", b"a.ide.example", True),
        ("*.ide.example", b"a.b.ide.example:1", True),
        ("*.ide.example", b"ide.example", False),
        ("*.ide.example", b".ide.example", False),
        ("*.ide.example", b"xide.example", False),
        ("[::1]", b"[::1]:80", True),
        ("[::1]", b"[::2]", False),
    ],
)
def test_hosts(pattern, host, fits):
    assert (chosen(one(host=[pattern]), host=host) == "there") == fits


@pytest.mark.parametrize(
    ("keys", "target", "fits"),
    [
        ({"path": ["/api"]}, b"/api", True),
        ({"path": ["/api"]}, b"/api?x=/", True),
        ({"path": ["/api"]}, b"/api/", False),
        ({"path": ["/api"]}, b"/API", False),
        ({"path": ["/api"]}, b"/%61pi", False),
        ({"path_prefix": ["/api"]}, b"/apis", True),
        ({"path_prefix": ["/api/"]}, b"/api", False),
        ({"path_prefix": ["/api/"]}, b"/api/x", True),
        ({"path_prefix": ["/a?"[:2]]}, b"/?/a", False),
        ({"path_prefix": ["/"]}, b"*", False),
        ({"path": ["/api"], "path_prefix": ["/api/"]}, b"/api/x", True),
        ({"path": ["/api"], "path_prefix": ["/api/"]}, b"/apis", False),
    ],
)
def test_paths(keys, target, fits):
    assert (chosen(one(**keys), target) == "there") == fits


def test_all_keys_have_to_fit_and_the_first_route_wins():
    routes = Rules(
        [
            rule("both", host=["a", "b"], path_prefix=["/x"]),
            rule("host", host=["a"]),
            rule("name", sni=["*.s"]),
        ]
    )
    assert chosen(routes, b"/x", b"a") == "both"
    assert chosen(routes, b"/y", b"a") == "host"
    assert chosen(routes, b"/y", b"b") is None
    assert chosen(routes, b"/y", b"b", "t.s") == "name"
    assert chosen(routes, b"/y", b"b") is None
    assert routes.of_connection("t.s", "192.0.2.1", tls=True) == ToPool("name")
    assert routes.of_connection("s", "192.0.2.1", tls=True) is None


def test_names_that_clients_make_up_take_no_memory():
    routes = one(host=["*.ide.example"])
    for number in range(3 * module.KEPT):
        assert chosen(routes, host=b"%d.ide.example" % number) == "there"
    assert len(routes._by_name) <= module.KEPT


NAMES = ["a", "b.a", "c.b.a"]
PATHS = ["/", "/x", "/x/", "/x/y"]
ROUTES = st.builds(
    rule,
    st.sampled_from(["1", "2", "3"]),
    host=st.lists(st.sampled_from([*NAMES, "*.a", "*.b.a"]), max_size=2),
    sni=st.lists(st.sampled_from([*NAMES, "*.a"]), max_size=1),
    path=st.lists(st.sampled_from(PATHS), max_size=2),
    path_prefix=st.lists(st.sampled_from(PATHS), max_size=2),
)


def fits(one, host, sni, path):
    def named(patterns, name):
        return any(name == each or (each[0] == "*" and name.endswith(each[1:])) for each in patterns)

    by_path = path in one.path or any(path.startswith(each) for each in one.path_prefix)
    return (
        (not one.host or named(one.host, host))
        and (not one.sni or named(one.sni, sni))
        and (by_path or not (one.path or one.path_prefix))
    )


@given(
    st.lists(ROUTES, max_size=5),
    st.lists(st.tuples(*(st.sampled_from(each) for each in (NAMES, ["", *NAMES], PATHS))), min_size=1, max_size=5),
)
def test_against_the_rule_spelled_out(given_routes, requests):
    routes = Rules(given_routes)
    for host, sni, path in requests:
        plain = next((each.action.name for each in given_routes if fits(each.when, host, sni, path)), None)
        assert chosen(routes, path.encode(), host.encode(), sni) == plain


def asked(rules, head, address="192.0.2.1", server_name=""):
    return rules.of_request(parse_request(head.encode() + b"\r\n\r\n"), server_name, address)


def denies(unless=(), **keys):
    return Rules([RuleSettings(Deny(403), ConditionSettings(**keys), tuple(unless))])


@pytest.mark.parametrize(
    ("keys", "head", "address", "fits"),
    [
        ({"method": ("POST", "PUT")}, "PUT / HTTP/1.1\r\nHost: a", "192.0.2.1", True),
        ({"method": ("POST",)}, "GET / HTTP/1.1\r\nHost: a", "192.0.2.1", False),
        ({"query": ("token",)}, "GET /?a=1&token= HTTP/1.1\r\nHost: a", "192.0.2.1", True),
        ({"query": ("token",)}, "GET /?a=1&token HTTP/1.1\r\nHost: a", "192.0.2.1", False),
        ({"query": ("token",)}, "GET /?tokens=1 HTTP/1.1\r\nHost: a", "192.0.2.1", False),
        ({"query": ("token", "b")}, "GET /?token=1 HTTP/1.1\r\nHost: a", "192.0.2.1", False),
        ({"query": ("token",)}, "GET /token HTTP/1.1\r\nHost: a", "192.0.2.1", False),
        ({"header": {"X-Beta": True}}, "GET / HTTP/1.1\r\nHost: a\r\nx-beta:", "192.0.2.1", True),
        ({"header": {"X-Beta": "1"}}, "GET / HTTP/1.1\r\nHost: a\r\nx-beta: 1", "192.0.2.1", True),
        ({"header": {"X-Beta": "1"}}, "GET / HTTP/1.1\r\nHost: a\r\nx-beta: 12", "192.0.2.1", False),
        ({"header": {"X-Beta": "1"}}, "GET / HTTP/1.1\r\nHost: a", "192.0.2.1", False),
        ({"client": ("10.0.0.0/8", "2001:db8::/32")}, "GET / HTTP/1.1\r\nHost: a", "10.1.2.3", True),
        ({"client": ("10.0.0.0/8", "2001:db8::/32")}, "GET / HTTP/1.1\r\nHost: a", "2001:db8::1", True),
        ({"client": ("10.0.0.0/8",)}, "GET / HTTP/1.1\r\nHost: a", "192.0.2.1", False),
        ({"path_prefix": ("/admin",)}, "GET /%61dmin HTTP/1.1\r\nHost: a", "192.0.2.1", True),
        ({"path_prefix": ("/admin",)}, "GET //admin HTTP/1.1\r\nHost: a", "192.0.2.1", True),
        ({"path_prefix": ("/admin",)}, "GET /x/../admin HTTP/1.1\r\nHost: a", "192.0.2.1", True),
        ({"path_prefix": ("/admin",)}, "GET /x/%2E%2e/./admin HTTP/1.1\r\nHost: a", "192.0.2.1", True),
        ({"path_prefix": ("/admin",)}, "GET /public?/admin HTTP/1.1\r\nHost: a", "192.0.2.1", False),
    ],
)
def test_conditions(keys, head, address, fits):
    assert (asked(denies(**keys), head, address) == Deny(403)) is fits


def test_exceptions_are_each_enough():
    rules = denies([ConditionSettings(client=("10.0.0.0/8",)), ConditionSettings(path=("/ping",), host=("b",))])
    assert asked(rules, "GET / HTTP/1.1\r\nHost: a") == Deny(403)
    assert asked(rules, "GET / HTTP/1.1\r\nHost: a", "10.0.0.1") is None
    assert asked(rules, "GET /ping HTTP/1.1\r\nHost: a") == Deny(403)
    assert asked(rules, "GET /ping HTTP/1.1\r\nHost: b") is None
    assert rules.of_connection("", "10.0.0.1", tls=False) is None
    names = denies([ConditionSettings(client=("10.0.0.0/8",))], sni=("a",))
    assert names.of_connection("a", "192.0.2.1", tls=True) == Deny(403)
    assert names.of_connection("b", "192.0.2.1", tls=True) is None


def test_whether_the_client_of_a_connection_speaks_tls():
    plain = denies([], tls=False)
    assert plain.of_hello
    assert plain.of_connection("", "192.0.2.1", tls=False) == Deny(403)
    assert plain.of_connection("", "192.0.2.1", tls=True) is None
    others = denies([ConditionSettings(tls=True)], client=("10.0.0.0/8",))
    assert others.of_connection("", "10.0.0.1", tls=False) == Deny(403)
    assert others.of_connection("a", "10.0.0.1", tls=True) is None


def test_rules_are_asked_in_order():
    rules = Rules(
        [
            RuleSettings(Answer(200, "text/plain", b"pong"), ConditionSettings(path=("/ping",))),
            RuleSettings(Deny(401), ConditionSettings(path_prefix=("/",))),
            rule("never"),
        ]
    )
    assert asked(rules, "GET /ping HTTP/1.1\r\nHost: a") == Answer(200, "text/plain", b"pong")
    assert asked(rules, "GET /x HTTP/1.1\r\nHost: a") == Deny(401)


def test_no_rule_in_front_lets_a_denied_path_pass():
    for action in (ToPool("ide"), Answer(200, "text/plain", b"")):
        public = RuleSettings(action, ConditionSettings(path_prefix=("/public",)))
        rules = Rules([public, RuleSettings(Deny(403), ConditionSettings(path_prefix=("/admin",)))])
        assert asked(rules, "GET /public/../admin HTTP/1.1\r\nHost: a") == Deny(403)
        assert asked(rules, "GET /public/x HTTP/1.1\r\nHost: a") == action
        assert asked(rules, "GET /%70ublic HTTP/1.1\r\nHost: a") == action
        assert asked(Rules([public]), "GET /%70ublic HTTP/1.1\r\nHost: a") is None


@pytest.mark.parametrize("path", ["/a%2fb", "/a%2Fadmin", "/a%5Cb", "/a\\b", "/a%00"])
def test_paths_that_hosts_read_in_different_ways_are_refused_where_a_path_is_denied(path):
    with pytest.raises(ProxyError, match="encoded slash"):
        asked(denies(path=("/admin",)), f"GET {path} HTTP/1.1\r\nHost: a")
    assert asked(denies(method=("POST",)), f"GET {path} HTTP/1.1\r\nHost: a") is None


def plainly(path):
    """Normalize as the reference does: decode what is unreserved, then go segment by segment (RFC 3986, 5.2.4)."""
    for code in range(128):
        if chr(code).isalnum() or chr(code) in "-._~":
            for spelling in (f"%{code:02x}", f"%{code:02X}", f"%{code:02x}".title()):
                path = path.replace(spelling, chr(code))
    kept = []
    names = [name for name in path.split("/") if name]
    for name in names:
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(name)
    folder = path.endswith(("/", "/.", "/..")) and bool(kept)
    return "/" + "/".join(kept) + ("/" if folder else "")


@given(st.lists(st.sampled_from(["/", ".", "..", "a", "%61", "%2e", "%2E", "%7e", "%20", "b"]), max_size=12))
def test_normalized_paths(parts):
    path = "/" + "".join(parts)
    assert normalized_path(path.encode()).decode() == plainly(path)
