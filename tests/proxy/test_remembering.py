"""A page whose parts do not carry the token: where it is found, what the browser keeps, and what backends see of it."""

import re
import time

import pytest
from proxy_rig import Records, run

from balancer.config.settings import PlaceSettings, TokenSettings
from balancer.proxy.remembering import Remembering

KEYS = (b"k" * 32,)
NAME = b"ide_user"
PLACES = (
    PlaceSettings(source="header", header="Authorization", prefix="Bearer "),
    PlaceSettings(param="access_token"),
    PlaceSettings(source="cookie", cookie="session", duplicates="first"),
    PlaceSettings(source="referer"),
)
RULE = TokenSettings(fallback=PLACES, remember="ide_user")
PAGE = b"Sec-Fetch-Dest: document"
UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"


class Users(Records):
    """Digest and place of each token, in the order of the requests."""

    def __init__(self):
        super().__init__()
        self.users = []

    def write(self, event, record, **_):
        super().write(event, record)
        self.users.append((record.digest, record.token_from))


class Site:
    """The rig's worker with one client, which sends one request after another over one connection."""

    def __init__(self, rig):
        self.rig = rig
        self.client = None

    async def ask(self, target, *lines, answer=OK, method=b"GET"):
        """The answer to the client, and what the backend was sent: empty if nothing was."""
        rig = self.rig
        if self.client is None or self.client.end:
            self.client = await rig.client()
        for peer in rig.hosts["a"].connections:
            peer.take()
        fields = b"".join(line + b"\r\n" for line in lines)
        await rig.send(self.client, b"%b %b HTTP/1.1\r\nHost: ide.example\r\n%b\r\n" % (method, target, fields))
        seen = b"".join(peer.take() for peer in rig.hosts["a"].connections)
        if seen:
            await rig.send(rig.hosts["a"].last, answer + b"\r\n")
        return self.client.take(), seen

    async def keeps(self, target=b"/?token=alice", *lines, **more):
        """The cookie that the answer sets: its value."""
        answer, _ = await self.ask(target, *(lines or (PAGE,)), **more)
        found = re.search(rb"Set-Cookie: (?:__Host-)?ide_user=([^;\r]*)", answer)
        return found and found[1]


def site(work, rule=RULE, keys=KEYS, **settings):
    log = Users()

    async def main(rig):
        rig.worker.remembering = Remembering([rule.remember], keys)
        await work(Site(rig))
        return rig.pool

    pool = run(main, pool={"token": rule}, log=log, **settings)
    return log.users, pool


def cookie(value, name=NAME):
    return b"Cookie: " + name + b"=" + value


def test_every_place_is_searched_in_order_and_names_one_user():
    async def work(site):
        value = await site.keeps()
        await site.ask(b"/", b"Authorization: bearer %61lice")
        await site.ask(b"/?access_token=alic%65")
        await site.ask(b"/", b"Cookie: session=alice")
        await site.ask(b"/", b"Referer: https://ide.example/lab?token=alice")
        await site.ask(b"/", cookie(value))
        await site.ask(b"/?access_token=bob", cookie(value), b"Authorization: Bearer alice")

    users, pool = site(work)
    assert [place for _, place in users] == ["query", "header", "query", "cookie", "referer", "remember", "header"]
    assert len({digest for digest, _ in users}) == 1
    assert pool.places == {"query": 2, "header": 2, "cookie": 1, "referer": 1, "remember": 1}
    assert pool.cookies == {"set": 1}


def test_the_cookie_and_its_attributes():
    async def work(site):
        answer, _ = await site.ask(b"/?token=alice", PAGE, answer=OK + b"Cache-Control: public, max-age=9\r\n")
        assert re.search(rb"\r\nSet-Cookie: ide_user=[\w-]+; Path=/; HttpOnly; SameSite=Lax\r\n", answer)
        assert b"\r\nCache-Control: max-age=9, private\r\n" in answer
        assert b"alice" not in answer

    site(work)


def test_behind_a_trusted_balancer_with_tls():
    async def work(site):
        secure = b"X-Forwarded-Proto: https"
        answer, _ = await site.ask(b"/?token=alice", PAGE, secure)
        line = rb"Set-Cookie: (__Host-ide_user)=([\w-]+); Path=/; HttpOnly; SameSite=None; Partitioned; Secure\r\n"
        name, value = re.search(line, answer).groups()
        assert (await site.ask(b"/x", cookie(value, name), secure))[1]
        refused, seen = await site.ask(b"/x", cookie(value, NAME), secure)
        assert (refused[9:12], seen) == (b"400", b""), "the name without prefix, which a neighbour can set"
        refused, seen = await site.ask(b"/x", cookie(value, name))
        assert (refused[9:12], seen) == (b"400", b"")

    rule = TokenSettings(remember="ide_user", remember_same_site="none")
    users, _ = site(work, rule=rule, listener={"trusted": ("192.0.2.0/24",)})
    assert users[0][0] == users[1][0]


@pytest.mark.parametrize(
    ("target", "lines", "answer"),
    [
        (b"/?token=alice", (b"Sec-Fetch-Dest: script",), OK),
        (b"/?token=alice", (b"Accept: text/html",), OK),
        (b"/?token=alice", (PAGE,), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"),
        (b"/?token=alice", (PAGE,), b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n"),
        (b"/?access_token=alice", (PAGE,), OK),
        (b"/", (PAGE, b"Authorization: Bearer alice"), OK),
    ],
)
def test_what_sets_no_cookie(target, lines, answer):
    async def work(site):
        assert await site.keeps(target, *lines, answer=answer) is None

    site(work)


@pytest.mark.parametrize("status", [b"200 OK", b"206 Partial", b"302 Found", b"304 Not Modified"])
def test_what_sets_one(status):
    async def work(site):
        assert await site.keeps(answer=b"HTTP/1.1 %b\r\nContent-Length: 0\r\n" % status)

    site(work)


def test_an_upgrade_sets_one():
    async def work(site):
        value = await site.keeps(b"/?token=alice", *UPGRADE, b"Sec-Fetch-Dest: empty", answer=SWITCHED)
        site.client.close()
        site.client = None
        assert value
        assert (await site.ask(b"/", cookie(value)))[1]

    users, _ = site(work)
    assert len({digest for digest, _ in users}) == 1


def test_it_is_set_when_it_is_new_only():
    async def work(site):
        value = await site.keeps()
        assert await site.keeps(b"/?token=alice", PAGE, cookie(value)) is None
        other = await site.keeps(b"/?token=bob", PAGE, cookie(value))
        assert other not in (None, value)
        assert await site.keeps(b"/?token=bob", PAGE, cookie(b"x")) is not None

    site(work)


def test_it_is_renewed_before_it_is_too_old(monkeypatch):
    async def work(site):
        value, now = await site.keeps(), time.time()
        monkeypatch.setattr(time, "time", lambda: now + 16 * 86400)
        assert await site.keeps(b"/?token=alice", PAGE, cookie(value))
        monkeypatch.setattr(time, "time", lambda: now + 31 * 86400)
        refused, _ = await site.ask(b"/", cookie(value))
        assert refused[9:12] == b"400"

    _, pool = site(work)
    assert pool.cookies == {"set": 2, "not_opened": 1}


def test_what_was_not_sealed_here_is_ignored_and_counted():
    async def work(site):
        value = await site.keeps()
        for planted in (b"alice", value[:-1], value + b"A", b""):
            refused, seen = await site.ask(b"/", cookie(planted))
            assert (refused[9:12], seen) == (b"400", b"")
            assert b"alice" not in refused

    _, pool = site(work)
    assert pool.cookies == {"set": 1, "not_opened": 4}


def test_two_users_in_two_cookies_are_neither():
    async def work(site):
        one, other = await site.keeps(), await site.keeps(b"/?token=bob")
        again = await site.keeps()
        refused, seen = await site.ask(b"/", b"Cookie: ide_user=" + one + b"; ide_user=" + other)
        assert (refused[9:12], seen) == (b"400", b"")
        assert (await site.ask(b"/", b"Cookie: ide_user=" + one + b"; ide_user=" + again))[1]

    _, pool = site(work)
    assert pool.cookies["contradictory"] == 1


def test_what_does_not_fit_is_not_remembered_and_no_former_user_stays():
    async def work(site):
        token = b"t" * 3500
        assert await site.keeps(b"/?token=" + token) is None
        former = await site.keeps(b"/?token=bob")
        answer, _ = await site.ask(b"/?token=" + token, PAGE, cookie(former))
        assert re.search(rb"Set-Cookie: ide_user=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0\r\n", answer)

    _, pool = site(work)
    assert pool.cookies == {"too_long": 2, "set": 1}


def test_backends_neither_see_nor_set_it():
    async def work(site):
        value = await site.keeps()
        both = b"Cookie: a=b; ide_user=" + value + b"; __Host-ide_user=x"
        for lines in ((both,), (both,), (both, *UPGRADE)):
            planted = (
                b"Set-Cookie: ide_user=evil; Path=/\r\nSet-Cookie: a=b\r\nSet-Cookie: __Host-ide_user=; Secure\r\n"
            )
            early = b"HTTP/1.1 103 Early Hints\r\n" + planted + b"\r\n"
            final = SWITCHED if UPGRADE[0] in lines else OK
            answer, seen = await site.ask(b"/?token=alice", *lines, answer=early + final + planted)
            assert b"Cookie: a=b\r\n" in seen
            assert value not in seen
            assert b"ide_user" not in seen + answer
            assert answer.count(b"Set-Cookie: a=b\r\n") == 2

    site(work)


def test_a_reload_that_adds_a_name_counts_for_open_connections():
    async def work(site):
        lines = (b"Cookie: other=1; ide_user=2",)
        assert b"Cookie: other=1\r\n" in (await site.ask(b"/?token=alice", *lines))[1]
        site.rig.worker.remembering = Remembering(["ide_user", "other"], KEYS)
        assert b"Cookie" not in (await site.ask(b"/?token=alice", *lines))[1]

    site(work)


def test_a_secret_that_was_replaced():
    async def work(site):
        value = await site.keeps()
        site.rig.worker.remembering = Remembering(["ide_user"], (b"n" * 32, *KEYS))
        assert (await site.ask(b"/", cookie(value)))[1]
        anew = await site.keeps(b"/?token=alice", PAGE, cookie(value))
        site.rig.worker.remembering = Remembering(["ide_user"], (b"n" * 32,))
        assert (await site.ask(b"/", cookie(anew)))[1]
        assert (await site.ask(b"/", cookie(value)))[0][9:12] == b"400"

    site(work)


def test_requests_without_a_user():
    asks = (b"Origin: https://a", b"Access-Control-Request-Method: PUT")

    async def work(site):
        assert (await site.ask(b"/api", *asks, method=b"OPTIONS"))[1]
        for path in (b"/favicon.ico", b"/robots.txt?x"):
            answer, seen = await site.ask(path)
            assert (answer[9:12], seen, site.client.end) == (b"404", b"", "")
        answer, seen = await site.ask(b"/", b"Origin: https://a", method=b"OPTIONS")
        assert (answer[9:12], seen) == (b"400", b"")

    users, pool = site(work)
    assert users == [("", "")] * 4
    assert pool.places == {"none": 1}


def test_icons_go_to_backends_that_serve_requests_without_a_token():
    async def work(site):
        assert (await site.ask(b"/favicon.ico"))[1]

    site(work, rule=TokenSettings(missing="spread"))
