"""A page whose parts do not carry the token: every request of one user is on one host, and hosts learn nothing."""

import contextlib
import json
from types import SimpleNamespace

import pytest
from harness import SECRET, Daemon, listener, pool
from pages import NAME, BrowserProfile, Host, recipe

from balancer.cli.client import Client

USERS = [f"{SECRET}{number}" for number in range(12)]


@pytest.fixture(scope="module")
def hosts():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Host(f"host-{number}")) for number in range(3)]


@pytest.fixture
def behind(tmp_path, hosts, authority):
    """Starts a daemon with a recipe; a second one goes on with the state of the first."""
    tls = {"certificates": [authority.issue(NAME)]}
    context = authority.client()
    context.check_hostname = False

    @contextlib.contextmanager
    def behind(token, **more):
        admin = {"socket": str(tmp_path / "admin.sock")}
        sections = {"state_dir": str(tmp_path / "state"), "admin": admin, **more}
        with Daemon(tmp_path, listeners=[listener(tls=tls)], pool=[pool(*hosts, token=token)], **sections) as daemon:
            yield SimpleNamespace(
                daemon=daemon, browser=lambda: BrowserProfile(daemon.ports["web"][0], context), folder=tmp_path
            )
            assert not [seen for host in hosts for seen in host.seen if "jupyter_user" in str(seen[1])]

    yield behind
    for host in hosts:
        host.seen.clear()


def told(daemon):
    """The lines of the access log as (digest, backend, place)."""
    return [(each["token"], each["backend"], each["token_from"]) for each in map(json.loads, daemon.stdout.lines)]


def test_a_whole_page_is_on_one_host(behind, hosts):
    with behind(recipe("JupyterLab")) as run:
        homes = {}
        for user in USERS:
            browser = run.browser()
            (homes[user],) = browser.page(user)
            assert set(browser.cookies) == {"__Host-jupyter_user"}
            assert user not in str(browser.cookies)
            browser.close()
        assert len(set(homes.values())) == 3
        one, other = run.browser(), run.browser()
        assert one.page(USERS[0]) == {homes[USERS[0]]}
        assert other.page(USERS[1]) == {homes[USERS[1]]}
        assert one.ask("/api/status") == (200, homes[USERS[0]])
        assert other.ask("/api/status") == (200, homes[USERS[1]])
        assert run.browser().ask("/api/status") == (400, None)
        assert run.browser().ask("/favicon.ico") == (404, None)
        asks = {"Origin": "https://a", "Access_Control_Request_Method": "PUT"}
        assert run.browser().ask("/api", method="OPTIONS", **asks)[0] == 200
        one.close()
        other.close()
        run.daemon.logged(path="/api", status=200)
        lines = [each for each in told(run.daemon) if each[0]]
        assert {place for *_, place in lines} == {"query", "referer", "remember"}
        assert len({digest for digest, *_ in lines}) == len(USERS)
        assert len({(digest, backend) for digest, backend, _ in lines}) == len(USERS), "each user on one host"


def test_it_stays_together_after_a_pin_a_drain_and_a_restart(behind, hosts):
    user = USERS[0]
    with behind(recipe("JupyterLab")) as run:
        browser = run.browser()
        (home,) = browser.page(user)
        browser.close()
    with behind(recipe("JupyterLab")) as run:
        browser.port = run.daemon.ports["web"][0]
        assert browser.ask("/api/status") == (200, home), "the cookie outlives the daemon"
        admin = Client(str(run.folder / "admin.sock"))
        place = next(f"host-{number}" for number in range(3) if f"host-{number}" != home)
        admin.ask("POST", "/v1/pools/ide/pins", {"token": user, "backend": place})
        assert browser.ask("/api/status") == (200, place)
        assert browser.page(user) == {place}
        found = admin.ask("POST", "/v1/pools/ide/explain", {"token": user})
        assert found["token_from"] == ["remember"]
        browser.close()
        admin.ask("PUT", f"/v1/pools/ide/backends/{place}/state", {"state": "maint"})
        (away,) = browser.page(user)
        assert away != place
        assert browser.ask("/api/status") == (200, away)
        browser.close()


def test_the_secret_of_two_balancers_and_its_replacement(behind, tmp_path):
    key = tmp_path / "secret.key"
    key.write_text("aa1" * 21 + "0\n")
    user = USERS[2]
    with behind(recipe("JupyterLab"), key_file=str(key)) as run:
        browser = run.browser()
        (home,) = browser.page(user)
        browser.close()
        former = dict(browser.cookies)
        key.write_text("bb2" * 21 + "0\n" + "aa1" * 21 + "0\n")
        admin = Client(str(run.folder / "admin.sock"))
        admin.ask("POST", "/v1/reload", {})
        assert browser.ask("/api/status") == (200, home)
        assert browser.ask(f"/lab?token={user}", "document") == (200, home)
        assert browser.cookies != former, "it was sealed anew"
        digest = admin.ask("POST", "/v1/pools/ide/digest", {"token": user})["digest"]
    with behind(recipe("JupyterLab"), key_file=str(key), state_dir=str(tmp_path / "other")) as run:
        browser.port = run.daemon.ports["web"][0]
        assert browser.ask("/api/status") == (200, home), "another balancer opens it"
        key.write_text("cc3" * 21 + "0")
        admin.ask("POST", "/v1/reload", {})
        assert browser.ask("/api/status") == (400, None)
    with behind(recipe("JupyterLab"), key_file=str(key)):
        assert admin.ask("POST", "/v1/pools/ide/digest", {"token": user})["digest"] == digest


def test_socket_io(behind):
    """Requests of socket.io-client 4 as it sends them: polling, then the upgrade, the token in its query."""
    with behind(recipe("socket.io")) as run:
        for user in USERS:
            browser = run.browser()
            query = f"token={user}&EIO=4"
            found = [
                browser.ask(f"/socket.io/?{query}&transport=polling&t=P1"),
                browser.ask(f"/socket.io/?{query}&transport=polling&t=P2&sid=x", method="POST", Content_Length="0"),
                browser.ask(f"/socket.io/?{query}&transport=polling&t=P3&sid=x"),
                browser.upgrade(f"/socket.io/?{query}&transport=websocket&sid=x"),
            ]
            browser.close()
            assert [status for status, _ in found] == [200, 200, 200, 101]
            assert len({host for _, host in found}) == 1


def test_signalr(behind):
    """Requests of @microsoft/signalr: negotiate with a bearer token, then the token as a parameter, escaped."""
    with behind(recipe("SignalR")) as run:
        for number in range(12):
            user, escaped = f"{SECRET}{number}.a+b/c==", f"{SECRET}{number}.a%2Bb%2Fc%3D%3D"
            browser, bearer = run.browser(), {"Authorization": f"Bearer {user}"}
            asks = {"Origin": "https://app.example", "Access_Control_Request_Method": "POST"}
            assert browser.ask("/hub/negotiate?negotiateVersion=1", method="OPTIONS", **asks)[0] == 200
            found = [
                browser.ask("/hub/negotiate?negotiateVersion=1", method="POST", Content_Length="0", **bearer),
                browser.upgrade(f"/hub?id=x&access_token={escaped}"),
                browser.ask(f"/hub?id=x&access_token={escaped}", Accept="text/event-stream"),
                browser.ask("/hub?id=x", method="POST", Content_Length="0", **bearer),
            ]
            browser.close()
            assert [status for status, _ in found] == [200, 101, 200, 200]
            assert len({host for _, host in found}) == 1
