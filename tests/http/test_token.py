"""Tokens: the same answer as the rule spelled out plainly, and never a token where others can read it."""

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.model import Token
from balancer.errors import ProxyError, Source
from balancer.http import token

EXTRACTED = {
    b"/?token=alice": b"alice",
    b"/x/y?a=b&token=alice&c": b"alice",
    b"/?token=a=b?c;d#": b"a=b?c;d#",
    b"/?token=a+b%20c": b"a+b%20c",
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


def test_extract():
    assert {target: token.extract(target, Token()) for target in EXTRACTED} == EXTRACTED


@pytest.mark.parametrize(
    "target", [b"/?token=a&token=b", b"/?token=&token=b", b"/?token=b&token=", b"/?token=a&x&token=a&token=A"]
)
def test_different_values_are_refused_unless_the_first_is_to_be_taken(target):
    with pytest.raises(ProxyError) as caught:
        token.extract(target, Token())
    assert (caught.value.source, caught.value.status) == (Source.CLIENT, 400)
    first = target.partition(b"=")[2].partition(b"&")[0]
    assert token.extract(target, Token(duplicates="first")) == (first or None)


def test_decoding():
    rule = Token(decode=True)
    assert token.extract(b"/?token=al%69ce+%C3%A4", rule) == b"alice+\xc3\xa4"
    assert token.extract(b"/?token=al%69ce&token=alice", rule) == b"alice"
    for bad in (b"%", b"a%2", b"%zz", b"%+1", b"%%41"):
        with pytest.raises(ProxyError, match="escape"):
            token.extract(b"/?token=" + bad, rule)
        assert token.extract(b"/?token=" + bad, Token()) == bad


def test_length_is_bounded_as_received():
    assert token.extract(b"/?token=abcd", Token(max_length=4)) == b"abcd"
    with pytest.raises(ProxyError, match="too long"):
        token.extract(b"/?token=abcde", Token(max_length=4))
    with pytest.raises(ProxyError, match="too long"):
        token.extract(b"/?token=%41bc", Token(max_length=4, decode=True))


def test_errors_do_not_quote_the_token():
    for target in (b"/?token=SECRET%zz", b"/?token=SECRET&token=SECRETS", b"/?token=" + b"SECRET" * 200):
        with pytest.raises(ProxyError) as caught:
            token.extract(target, Token(decode=True))
        assert "SECRET" not in f"{caught.value!r} {caught.value}"


def plainly(target: bytes, rule: Token):
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
        if any(
            len(rest) < 2 or set(rest[:2]) - set(b"0123456789abcdefABCDEF")
            for v in values
            for rest in v.split(b"%")[1:]
        ):
            return "refused"
        values = [urllib.parse.unquote_to_bytes(value) for value in values]
    if len(set(values)) > 1:
        return "refused"
    return values[0] or None


pieces = st.lists(
    st.sampled_from([b"t", b"=", b"&", b"?", b"%41", b"%", b"A", b"", b"t=", b"&t=", b"ab", b"+"]), max_size=12
)
rules = st.builds(
    Token,
    param=st.sampled_from(["t", "tt"]),
    duplicates=st.sampled_from(["refuse", "first"]),
    decode=st.booleans(),
    max_length=st.sampled_from([3, 512]),
)


@given(pieces.map(b"".join), rules)
def test_against_the_rule_spelled_out(query, rule):
    target = b"/?" + query
    try:
        found = token.extract(target, rule)
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
