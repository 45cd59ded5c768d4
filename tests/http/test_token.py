"""Tokens: the same answer as the rule spelled out plainly, and never a token where others can read it."""

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from balancer.config.settings import TokenSettings
from balancer.errors import ProxyError, Source
from balancer.http import token
from balancer.http.head import Request, parse_request

EXTRACTED = {
    b"/?token=alice": b"alice",
    b"/x/y?a=b&token=alice&c": b"alice",
    b"/?token=a=b?c;d#": b"a=b?c;d#",
    b"/?token=a+b%20c": b"a+b c",
    b"/?x?token=alice": None,
    b"/?Token=alice": None,
    b"/?xtoken=alice": None,
    b"/?%74oken=alice": None,
    b"/?token[]=alice": None,
    b"/?token": None,
    b"/?token=": None,
    b"/?token&token=alice": b"alice",
    b"/?token=alice&token=alice": b"alice",
    b"/token=alice": None,
    b"/;token=alice": None,
    b"/": None,
    b"/?": None,
    b"*": None,
}


def extract(target, rule):
    return token.extract(Request(b"GET", target, 1), token.Place(rule))


def carried(rule, *lines):
    """The token of a request with these field lines."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    return token.extract(parse_request(head), token.Place(rule))


def test_extract():
    assert {target: extract(target, TokenSettings()) for target in EXTRACTED} == EXTRACTED


@pytest.mark.parametrize(
    "target", [b"/?token=a&token=b", b"/?token=&token=b", b"/?token=b&token=", b"/?token=a&x&token=a&token=A"]
)
def test_different_values_are_refused_unless_the_first_is_to_be_taken(target):
    with pytest.raises(ProxyError) as caught:
        extract(target, TokenSettings())
    assert (caught.value.source, caught.value.status) == (Source.CLIENT, 400)
    first = target.partition(b"=")[2].partition(b"&")[0]
    assert extract(target, TokenSettings(duplicates="first")) == (first or None)


def test_decoding():
    rule = TokenSettings(decode=True)
    assert extract(b"/?token=al%69ce+%C3%A4", rule) == b"alice+\xc3\xa4"
    assert extract(b"/?token=al%69ce&token=alice", rule) == b"alice"
    assert extract(b"/?token=%7Ea&token=%7ea&token=~a", rule) == b"~a"
    for odd in (b"%", b"a%2", b"%zz", b"%+1"):
        assert extract(b"/?token=" + odd, rule) == odd
    assert extract(b"/?token=%%41", rule) == b"%A"
    assert extract(b"/?token=al%69ce", TokenSettings(decode=False)) == b"al%69ce"


def test_length_is_bounded_as_received():
    assert extract(b"/?token=abcd", TokenSettings(max_length=4)) == b"abcd"
    with pytest.raises(ProxyError, match="too long"):
        extract(b"/?token=abcde", TokenSettings(max_length=4))
    with pytest.raises(ProxyError, match="too long"):
        extract(b"/?token=%41bc", TokenSettings(max_length=4, decode=True))


def test_errors_do_not_quote_the_token():
    for target in (b"/?token=SECRET&token=SECRETS", b"/?token=" + b"SECRET" * 2000):
        with pytest.raises(ProxyError) as caught:
            extract(target, TokenSettings(decode=True))
        assert "SECRET" not in f"{caught.value!r} {caught.value}"


def plainly(target: bytes, rule: TokenSettings):
    """The rule, said as simply as it can be."""
    values = []
    for piece in target.split(b"?", 1)[1].split(b"&") if b"?" in target else []:
        name, equals, value = piece.partition(b"=")
        if equals and name == rule.param.encode():
            values.append(value)
    if not values:
        return None
    if rule.duplicates == "first":
        values = values[:1]
    if len(values[0]) > rule.max_length:
        return "refused"
    if rule.decode:
        values = [urllib.parse.unquote_to_bytes(value) for value in values]
    if len(set(values)) > 1:
        return "refused"
    return values[0] or None


HEADER = TokenSettings(source="header", header="X-User")
LISTS = {
    # As haproxy 2.6.12 reads them for `balance hdr(X-User)`; None is its round robin.
    (b"X-User: alice",): b"alice",
    (b"x-user:  bob \t",): b"bob",
    (b"X-User: a, b",): b"a",
    (b"X-User: a", b"X-User: b"): b"a",
    (b'X-User: "a, b", c',): b'"a, b"',
    (b'X-User: "a\\", b", c',): b'"a\\", b"',
    (b'X-User: a"x,y"z, q',): b'a"x,y"z',
    (b'X-User: "a, b',): b'"a, b',
    (b'X-User: \\"a, b',): b'\\"a, b',
    (b"X-User: a b ; c",): b"a b ; c",
    (b"X-User: , zed",): None,
    (b"X-User: ", b"X-User: zed"): None,
    (b"X-Users: zed",): None,
    (): None,
}


def test_headers():
    first = replace(HEADER, duplicates="first")
    assert {lines: carried(first, *lines) for lines in LISTS} == LISTS
    last = replace(HEADER, duplicates="last")
    assert carried(last, b"X-User: a, b", b'X-User: c,"d, e" ,') == b'"d, e"'
    assert carried(HEADER, b"X-User: Mozilla (KHTML, like Gecko)") == b"Mozilla (KHTML, like Gecko)"
    assert carried(HEADER, b"X-User: a", b"X-User: a") == b"a"
    with pytest.raises(ProxyError, match="different values"):
        carried(HEADER, b"X-User: a", b"X-User: b")
    with pytest.raises(ProxyError, match="too long"):
        carried(HEADER, b"X-User: " + b"a" * 8193)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Host", b"Host: a"),
        ("x-forwarded-for", b"X-Forwarded-For: 192.0.2.1, 192.0.2.2"),
        ("X-Request-ID", b"X-Request-ID: one"),
        ("X-Real-IP", b"X-Real-IP: 192.0.2.7"),
        ("Forwarded", b"Forwarded: for=192.0.2.1"),
    ],
)
def test_headers_that_do_not_just_pass(name, line):
    value = carried(TokenSettings(source="header", header=name), *([line] if name != "Host" else []))
    assert value == line.partition(b": ")[2]


COOKIE = TokenSettings(source="cookie", cookie="sid", duplicates="refuse")


def test_cookies():
    assert carried(COOKIE, b"Cookie: a=b; sid=alice;c=d") == b"alice"
    assert carried(COOKIE, b"Cookie: SID=x; sid = dan ; xsid=y; sid") == b"dan"
    assert carried(COOKIE, b'Cookie: sid="q q"') == b'"q q"'
    assert carried(COOKIE, b"Cookie: sid=a=b") == b"a=b"
    assert carried(COOKIE, b"Cookie: sid=") is None
    assert carried(COOKIE) is None
    two = (b"Cookie: sid=a; sid=b", b"Cookie: sid=c")
    assert carried(replace(COOKIE, duplicates="first"), *two) == b"a"
    assert carried(replace(COOKIE, duplicates="last"), *two) == b"c"
    with pytest.raises(ProxyError, match="different values"):
        carried(COOKIE, *two)


@pytest.mark.parametrize(
    ("keys", "target", "token"),
    [
        ({"source": "path"}, b"/a%20b/c;d?x=1", b"/a b/c;d"),
        ({"source": "path", "decode": False}, b"/a%20b/c;d?x=1", b"/a%20b/c;d"),
        ({"source": "path", "depth": 1}, b"/a%2Fb/c", b"/a/b"),
        ({"source": "uri"}, b"/a%3Fb?x=%7e", b"/a?b?x=~"),
        ({"source": "path"}, b"*", b"*"),
        ({"source": "uri"}, b"/a?x=1", b"/a?x=1"),
        ({"source": "uri"}, b"/a?", b"/a?"),
        ({"source": "path", "depth": 2}, b"/a/b/c?x", b"/a/b"),
        ({"source": "path", "depth": 2}, b"/a/b?/c/d", b"/a/b"),
        ({"source": "path", "depth": 2}, b"/a/b/", b"/a/b"),
        ({"source": "path", "depth": 2}, b"/a", b"/a"),
        ({"source": "uri", "depth": 2}, b"/a?x=1/b/c", b"/a?x=1/b"),
        ({"source": "path", "depth": 1, "leading_bytes": 4}, b"/abcdefg", b"/abc"),
        ({"source": "path", "depth": 1, "leading_bytes": 4}, b"/a/bcd", b"/a"),
        ({"source": "uri", "max_length": 3}, b"/abcdef", b"/abcdef"),
        ({"source": "client_ip"}, b"/?token=a", None),
    ],
)
def test_targets_and_addresses(keys, target, token):
    assert extract(target, TokenSettings(**keys)) == token


def test_what_operators_name():
    assert token.from_operator(b"al%69ce", TokenSettings(decode=True)) == b"alice"
    assert token.from_operator(b"a, b", HEADER) == b"a, b"
    assert token.from_operator(b"", COOKIE) is None
    assert token.from_operator(b"/a/b/c?d", TokenSettings(source="path", depth=1)) == b"/a"
    assert token.from_operator(b"2001:DB8:0::1", TokenSettings(source="client_ip")) == b"2001:db8::1"
    for bad in (b"alice", b"\xff"):
        with pytest.raises(ProxyError, match="expected an IP address"):
            token.from_operator(bad, TokenSettings(source="client_ip"))
    with pytest.raises(ProxyError, match="too long"):
        token.from_operator(b"abc", TokenSettings(max_length=2))
    with pytest.raises(ProxyError, match="cannot contain &"):
        token.from_operator(b"a&b", TokenSettings())


@given(st.binary(max_size=20).map(lambda raw: bytes(b'a," \\\t'[byte % 6] for byte in raw)))
def test_any_list_has_a_first_and_a_last_element(value):
    value = value.strip(b" \t")
    found = [carried(replace(HEADER, duplicates=which), b"X-User: " + value) for which in ("first", "last")]
    for element in found:
        assert element is None or (element in value and element == element.strip(b" \t"))
    assert (found[1] is None) == (not value.strip(b" \t,"))
    if value.count(b'"') == 0:
        plain = [each.strip(b" \t") or None for each in value.split(b",")]
        assert found == [plain[0], next(filter(None, reversed(plain)), None)]


pieces = st.lists(
    st.sampled_from([b"t", b"=", b"&", b"?", b"%41", b"%", b"A", b"", b"t=", b"&t=", b"ab", b"+"]), max_size=12
)
rules = st.builds(
    TokenSettings,
    param=st.sampled_from(["t", "tt"]),
    duplicates=st.sampled_from(["refuse", "first"]),
    decode=st.booleans(),
    max_length=st.sampled_from([3, 512]),
)


@given(pieces.map(b"".join), rules)
def test_against_the_rule_spelled_out(query, rule):
    target = b"/?" + query
    try:
        found = extract(target, rule)
    except ProxyError:
        found = "refused"
    assert found == plainly(target, rule)


@given(st.binary())
def test_without_query_is_printable_and_short_of_the_query(target):
    shown = token.without_query(target)
    assert shown.isascii()
    assert shown.isprintable()
    assert token.without_query(target.partition(b"?")[0] + b"?token=SECRET") == shown


def test_without_query():
    assert token.without_query(b"/ide/terminal?token=SECRET") == "/ide/terminal"
    assert token.without_query(b"/a\r\n\x1b\xff") == "/a\\r\\n\\x1b\\xff"
