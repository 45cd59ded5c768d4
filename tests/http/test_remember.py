"""Cookies that remember users: none that we did not seal is believed, and no backend sees or sets one."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from balancer.config.cookie import MAX_COOKIE, attributes, cookie_name, longest_token
from balancer.http.head import parse_request, parse_response
from balancer.http.remember import PrivateCookies, keep_private, opens_page, set_cookie
from balancer.http.seal import MAX_AGE, MAX_AHEAD, RENEW_AGE, Seals

KEY, FORMER, OTHER = b"k" * 32, b"f" * 32, b"o" * 32
NOW = 1_900_000_000.0
NAME = b"__Host-ide_user"
SEALS = Seals([KEY])


def request(*lines):
    return parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


def response(*lines):
    return parse_response(b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n", b"GET")


@given(st.binary(min_size=1, max_size=300))
def test_what_was_sealed_opens(token):
    value = SEALS.seal("ide", NAME, token, NOW)
    assert re.fullmatch(rb"[A-Za-z0-9_-]+", value)
    assert SEALS.open("ide", NAME, value, NOW) == (token, False)
    assert token not in value or len(token) < 4
    assert SEALS.seal("ide", NAME, token, NOW) != value, "nobody can tell that it is the same user"


@given(st.binary(min_size=1, max_size=60), st.data())
def test_what_was_changed_or_cut_does_not_open(token, data):
    value = SEALS.seal("ide", NAME, token, NOW)
    at = data.draw(st.integers(0, len(value)))
    inserted = data.draw(st.binary(max_size=3))
    upto = data.draw(st.integers(at, len(value)))
    changed = value[:at] + inserted + value[upto:]
    assume(changed != value)
    assert SEALS.open("ide", NAME, changed, NOW) is None


@given(st.binary(max_size=400))
def test_what_nobody_sealed_does_not_open(value):
    assert SEALS.open("ide", NAME, value, NOW) is None


@given(
    st.binary(min_size=1, max_size=60), st.sampled_from(["ide", "id", "idee", "other"]), st.sampled_from([KEY, OTHER])
)
def test_a_seal_is_for_one_pool_cookie_and_key(token, pool, key):
    value = SEALS.seal("ide", NAME, token, NOW)
    opened = Seals([key]).open(pool, NAME, value, NOW)
    assert (opened is not None) == (pool == "ide" and key == KEY)
    for name in (b"ide_user", b"__Host-ide_use", b"__Host-ide_user2"):
        assert SEALS.open("ide", name, value, NOW) is None


def test_a_seal_is_believed_for_thirty_days():
    value = SEALS.seal("ide", NAME, b"alice", NOW)
    assert SEALS.open("ide", NAME, value, NOW + RENEW_AGE) == (b"alice", False)
    assert SEALS.open("ide", NAME, value, NOW + RENEW_AGE + 1) == (b"alice", True)
    assert SEALS.open("ide", NAME, value, NOW + MAX_AGE) == (b"alice", True)
    assert SEALS.open("ide", NAME, value, NOW + MAX_AGE + 1) is None
    assert SEALS.open("ide", NAME, value, NOW - MAX_AHEAD) == (b"alice", False)
    assert SEALS.open("ide", NAME, value, NOW - MAX_AHEAD - 1) is None


def test_a_former_key_opens_and_does_not_seal():
    value = Seals([FORMER]).seal("ide", NAME, b"alice", NOW)
    both = Seals([KEY, FORMER])
    assert both.open("ide", NAME, value, NOW) == (b"alice", True), "it is to be replaced"
    anew = both.seal("ide", NAME, b"alice", NOW)
    assert SEALS.open("ide", NAME, anew, NOW) == (b"alice", False)
    assert Seals([FORMER]).open("ide", NAME, anew, NOW) is None


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("same_site", ["lax", "none"])
@pytest.mark.parametrize("name", ["u", "ide_user", "n" * 64])
def test_the_longest_token_fits_and_no_longer_one_does(name, same_site, secure):
    longest = longest_token(name, same_site, secure=secure)

    def length(token):
        cookie = cookie_name(name, secure=secure)
        line = set_cookie(cookie, SEALS.seal("ide", cookie, b"t" * token, NOW), same_site, secure=secure)
        return len(line.partition(b": ")[2].strip())

    assert length(longest) <= MAX_COOKIE < length(longest + 1)
    assert SEALS.open("ide", NAME, SEALS.seal("ide", NAME, b"t" * longest, NOW), NOW) is not None


def test_attributes():
    assert attributes("lax", secure=False) == b"; Path=/; HttpOnly; SameSite=Lax"
    assert attributes("none", secure=True) == b"; Path=/; HttpOnly; SameSite=None; Partitioned; Secure"
    assert set_cookie(NAME, b"", "lax", secure=True).endswith(b"; Secure; Max-Age=0\r\n")


COOKIES = PrivateCookies(["u", "v"])
TAKEN = {
    (b"Cookie: a=b; u=1; c=d",): ([b"a=b; c=d"], {b"u": [b"1"]}),
    (b"Cookie: u=1",): ([], {b"u": [b"1"]}),
    (b"Cookie: __Host-u=1;v=2;  u = 3 ; a",): ([b"a"], {b"__Host-u": [b"1"], b"v": [b"2"], b"u": [b"3"]}),
    (b"cookie: u=1", b"COOKIE: x=y; u=2"): ([b"x=y"], {b"u": [b"1", b"2"]}),
    (b"Cookie: u; a=b",): ([b"a=b"], {}),
    (b"Cookie: a=b;  c=d",): ([b"a=b;  c=d"], {}),
    (b"Cookie: uu=1; U=2; a=u",): ([b"uu=1; U=2; a=u"], {}),
    (): ([], {}),
}


@pytest.mark.parametrize("lines", TAKEN, ids=repr)
def test_our_cookies_are_taken_out_of_requests(lines):
    kept, taken = TAKEN[lines]
    found = request(b"X-A: 1", *lines, b"X-B: 2")
    COOKIES.take(found)
    assert (found.field(b"cookie"), found.taken) == (kept, taken)
    assert (found.field(b"x-a"), found.field(b"x-b")) == ([b"1"], [b"2"])


@given(st.lists(st.sampled_from([b"u", b"=", b";", b" ", b"\t", b"x", b"__Host-v", b'"', b",", b"u=s"]), max_size=12))
def test_no_cookie_of_ours_is_left_in_any_request(pieces):
    found = request(b"Cookie: " + b"".join(pieces))
    COOKIES.take(found)
    for line in found.field(b"cookie"):
        for pair in line.split(b";"):
            assert pair.partition(b"=")[0].strip(b" \t") not in (b"u", b"v", b"__Host-u", b"__Host-v")


@pytest.mark.parametrize(
    "line",
    [b"u=1", b"__Host-u=1; Path=/; Secure", b" v = 2; Max-Age=0", b"=u=1", b"u", b"\tu=1", b"= u =1;x"],
)
def test_no_backend_sets_a_cookie_of_ours(line):
    found = response(b"Set-Cookie: a=u=1", b"set-COOKIE:" + line, b"X-A: 1", b"Set-Cookie: U=1")
    COOKIES.clean(found)
    assert found.field(b"set-cookie") == [b"a=u=1", b"U=1"]
    assert found.field(b"x-a") == [b"1"]


@pytest.mark.parametrize(
    ("lines", "control"),
    [
        ([], b"private"),
        ([b"Cache-Control: public, max-age=60, immutable"], b"max-age=60, immutable, private"),
        (
            [b"cache-control: s-maxage=9,no-cache", b"Cache-Control: must-revalidate"],
            b"no-cache, must-revalidate, private",
        ),
        ([b'Cache-Control: private="set-cookie, x", max-age=1'], b"max-age=1, private"),
        ([b"Cache-Control: no-store, public"], b"no-store, public"),
        ([b"Cache-Control: PRIVATE"], b"private"),
        ([b"CDN-Cache-Control: max-age=5", b"Surrogate-Control: x", b"Cloudflare-CDN-Cache-Control: y"], b"private"),
    ],
)
def test_shared_caches_keep_no_cookie(lines, control):
    found = response(b"X-A: 1", *lines)
    keep_private(found)
    assert found.fields == b"X-A: 1\r\nCache-Control: " + control + b"\r\n"


@pytest.mark.parametrize(
    ("lines", "opens"),
    [
        ([b"Sec-Fetch-Dest: document"], True),
        ([b"sec-fetch-dest:iframe "], True),
        ([b"Sec-Fetch-Dest: script"], False),
        ([b"Sec-Fetch-Dest: empty"], False),
        ([], False),
        ([b"Sec-Fetch-Dest: empty", b"Connection: Upgrade", b"Upgrade: websocket"], True),
        ([b"Connection: Upgrade", b"Upgrade: websocket"], False),
        ([b"X: Sec-Fetch-Dest: document"], False),
    ],
)
def test_what_opens_a_page(lines, opens):
    assert opens_page(request(*lines)) is opens
