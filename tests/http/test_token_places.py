"""Tokens in several places and spellings: one user, or a refusal, never two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.settings import PlaceSettings
from balancer.errors import ProxyError
from balancer.http import token as http_token
from balancer.http.head import parse_request
from balancer.http.token import Place, is_icon, is_preflight

BEARER = PlaceSettings(source="header", header="Authorization", prefix="Bearer ")
PAGE = PlaceSettings(source="referer", param="token")
HOST = PlaceSettings(source="header", header="Host")


def extract(request, settings):
    return http_token.extract(request, Place(settings))


def request(*lines, target=b"/", host=b"ide.example", method=b"GET"):
    start = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method, target, host)
    return parse_request(start + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer   a.b-c_d~e+f/g==", b"a.b-c_d~e+f/g=="),
        (b"BEARER %7Eabc", b"~abc"),
        (b"Basic YTpi", None),
        (b"Bearer", None),
        (b"Bearerabc", None),
        (b"", None),
    ],
)
def test_a_prefix(value, token):
    assert extract(request(b"Authorization: " + value), BEARER) == token


def test_of_several_values_those_with_the_prefix_count():
    both = request(b"Authorization: Basic x", b"Authorization: Bearer y")
    assert extract(both, BEARER) == b"y"
    with pytest.raises(ProxyError, match="different values"):
        extract(request(b"Authorization: Bearer x", b"Authorization: bearer y"), BEARER)


@pytest.mark.parametrize(
    ("referer", "token"),
    [
        (b"https://ide.example/lab?token=abc", b"abc"),
        (b"http://IDE.example.:8443/?a=b&token=%7Eabc#token=x", b"~abc"),
        (b"https://ide.example?token=abc", b"abc"),
        (b"https://evil.example/?token=abc", None),
        (b"https://ide.example.evil/?token=abc", None),
        (b"https://ide.example@evil.example/?token=abc", None),
        (b"https://evil.example/https://ide.example/?token=abc", None),
        (b"https://evil.example#https://ide.example/?token=abc", None),
        (b"https://ide.example\\@evil.example/?token=abc", None),
        (b"/lab?token=abc", None),
        (b"https://ide.example/lab", None),
        (b"about:blank", None),
    ],
)
def test_the_page_that_asked(referer, token):
    assert extract(request(b"Referer: " + referer), PAGE) == token


@pytest.mark.parametrize("host", [b"IDE.example", b"ide.example.", b"Ide.Example.:8443", b"ide.example:"])
def test_equal_hosts_are_one_user(host):
    assert extract(request(host=host), HOST) == b"ide.example"
    as_received = PlaceSettings(source="header", header="Host", decode=False)
    assert extract(request(host=host), as_received) == host


def test_what_browsers_ask_by_themselves():
    asks = [b"Origin: https://a", b"Access-Control-Request-Method: PUT"]
    assert is_preflight(request(*asks, method=b"OPTIONS"))
    assert not is_preflight(request(*asks))
    assert not is_preflight(request(asks[0], method=b"OPTIONS"))
    assert is_icon(request(target=b"/favicon.ico?v=2"))
    assert not is_icon(request(target=b"/a/favicon.ico"))


def spelled(token, choices):
    """A spelling of a token in a URL: ``choices`` says which bytes are escaped, and how."""
    found = b""
    for byte, choice in zip(token, choices, strict=True):
        plain = bytes([byte])
        needs = not plain.isalnum() and plain not in b"-._~"
        found += (b"%%%02x" if choice == 1 else b"%%%02X") % byte if needs or choice else plain
    return found


tokens = st.binary(min_size=1, max_size=12)
places = [
    PlaceSettings(param="token"),
    PlaceSettings(param="access_token"),
    PlaceSettings(source="header", header="X-User"),
    BEARER,
    PlaceSettings(source="cookie", cookie="session", duplicates="first"),
    PAGE,
]


@st.composite
def spellings(draw, token):
    return spelled(token, draw(st.lists(st.integers(0, 2), min_size=len(token), max_size=len(token))))


def sent(place, value):
    """The query and the field lines that carry ``value`` at ``place``."""
    match place.source:
        case "query":
            return [place.param.encode() + b"=" + value], []
        case "header":
            return [], [(place.header + ": " + place.prefix).encode() + value]
        case "cookie":
            return [], [b"Cookie: a=b; session=" + value]
        case _:
            return [], [b"Referer: https://ide.example/?token=" + value]


@given(st.data(), tokens, st.lists(st.sampled_from(places), min_size=1, max_size=4, unique_by=id))
def test_any_places_and_spellings_of_a_token_are_one_user(data, token, used):
    query, lines = [], []
    for place in used:
        for _ in range(data.draw(st.integers(1, 2))):
            more = sent(place, data.draw(spellings(token)))
            query, lines = query + more[0], lines + more[1]
    found = request(*lines, target=b"/?" + b"&".join(query))
    assert {extract(found, place) for place in places} - {None} == {token}


@given(st.data(), tokens, tokens)
def test_two_users_in_one_place_are_refused_or_the_first_counts(data, one, other):
    place = data.draw(st.sampled_from(places))
    both = [sent(place, data.draw(spellings(token))) for token in (one, other)]
    found = request(*both[0][1], *both[1][1], target=b"/?" + b"&".join(both[0][0] + both[1][0]))
    try:
        assert extract(found, place) == one
        assert one == other or place.duplicates == "first"
    except ProxyError:
        assert one != other
