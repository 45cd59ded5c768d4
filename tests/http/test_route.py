"""Routes: the rule spelled out plainly, and hosts in every spelling a client may choose."""

import pytest
from balancer.http.route import Routes
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.model import RouteConfig
from balancer.http import route
from balancer.http.head import Request


def chosen(routes, target=b"/", host=b"ide.example", server_name=""):
    request = Request(b"GET", target, 1)
    request.host = host
    return routes.of_request(request, server_name)


def one(**keys):
    return Routes([RouteConfig(pool="there", **keys)])


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("ide.example", b"ide.example", True),
        ("ide.example", b"IDE.Example:8443", True),
        ("ide.example.", b"ide.example", True),
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
    routes = Routes(
        [
            RouteConfig(pool="both", host=["a", "b"], path_prefix=["/x"]),
            RouteConfig(pool="host", host=["a"]),
            RouteConfig(pool="name", sni=["*.s"]),
        ]
    )
    assert chosen(routes, b"/x", b"a") == "both"
    assert chosen(routes, b"/y", b"a") == "host"
    assert chosen(routes, b"/y", b"b") is None
    assert chosen(routes, b"/y", b"b", "t.s") == "name"
    assert chosen(routes, b"/y", b"b") is None
    assert routes.of_connection("t.s") == "name"
    assert routes.of_connection("s") is None


def test_names_that_clients_make_up_take_no_memory():
    routes = one(host=["*.ide.example"])
    for number in range(3 * route.NAMES_KEPT):
        assert chosen(routes, host=b"%d.ide.example" % number) == "there"
    assert len(routes._by_name) <= route.NAMES_KEPT


NAMES = ["a", "b.a", "c.b.a"]
PATHS = ["/", "/x", "/x/", "/x/y"]
ROUTES = st.builds(
    RouteConfig,
    pool=st.sampled_from(["1", "2", "3"]),
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
    routes = Routes(given_routes)
    for host, sni, path in requests:
        plain = next((each.pool for each in given_routes if fits(each, host, sni, path)), None)
        assert chosen(routes, path.encode(), host.encode(), sni) == plain
