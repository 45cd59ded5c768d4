"""A listener for port 80: redirects to hosts that certificates cover, and answers to ACME challenges."""

import os
import subprocess
import sys

import pytest
from authority import Authority
from harness import listener, pool
from wire import answer, get, reached

ACME = "/.well-known/acme-challenge/"
NAMES = ["ide", "acme"]
SECRET = b"the key of the account"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("acme")
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_bytes(SECRET)
    (made / "good-Token_1").write_bytes(b"good-Token_1.thumbprint")
    (made / "limit").write_bytes(b"x" * 65536)
    (made / "large").write_bytes(b"x" * 65537)
    (made / "with.dot").write_bytes(SECRET)
    (made / "folder").mkdir()
    (made / "folder" / "inner").write_bytes(SECRET)
    (made / "link").symlink_to(outside)
    os.mkfifo(made / "pipe")
    (made / "closed").write_bytes(SECRET)
    return made


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    return str(tmp_path_factory.mktemp("admin") / "admin.sock")


@pytest.fixture(scope="module")
def daemon(start, homes, folder, admin, tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("tls"))
    certificates = [authority.issue("ide.example", "*.wild.example")]
    listeners = [
        listener("tls", tls={"certificates": certificates}),
        listener("plain", redirect="https", acme_challenge={"folder": str(folder)}),
        listener("fixed", redirect="https://ide.example:8443", acme_challenge={"pool": "acme"}),
        listener("stranger", redirect="https://other.example"),
    ]
    pools = [pool(homes[0]), pool(homes[1], name="acme", token={"missing": "spread"})]
    return start(listeners=listeners, pool=pools, admin={"socket": admin})


def asked(daemon, name, request):
    with daemon.connect(name) as client:
        client.send(request)
        return client.response()


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("ide.example", "https://ide.example/a%2Fb?c=d"),
        ("IDE.example.:80", "https://ide.example/a%2Fb?c=d"),
        ("one.wild.example", "https://one.wild.example/a%2Fb?c=d"),
        ("a.one.wild.example", None),
        ("wild.example", None),
        ("evil.example", None),
        ("ide.example.evil.example", None),
        ("127.0.0.1", None),
    ],
)
def test_hosts_of_certificates_are_redirected(daemon, host, location):
    response = asked(daemon, "plain", get("/a%2Fb?c=d").replace(b"ide.example", host.encode()))
    assert response.status == (308 if location else 421)
    assert dict(response.fields).get("location") == location


def test_a_host_of_its_own(daemon):
    response = asked(daemon, "fixed", get("/x").replace(b"ide.example", b"evil.example"))
    assert (response.status, dict(response.fields)["location"]) == (308, "https://ide.example:8443/x")
    assert asked(daemon, "stranger", get("/x")).status == 421


@pytest.mark.parametrize(
    "name",
    ["large", "with.dot", "folder", "link", "pipe", "folder/inner", "", "..", "none", "../acme/limit", "%6cimit"],
)
def test_what_is_no_challenge_is_not_served(daemon, name):
    response = asked(daemon, "plain", get(ACME + name))
    assert response.status == 404
    assert SECRET not in response.body


@pytest.mark.parametrize("name", ["good-Token_1", "limit", "limit?x=1"])
def test_challenges_of_a_folder(daemon, folder, name):
    response = asked(daemon, "plain", get(ACME + name))
    assert (response.status, response.body) == (200, (folder / name.partition("?")[0]).read_bytes())


def test_status_says_what_it_does(daemon, admin):
    status = [sys.executable, "-m", "balancer", "status", "--admin", admin]
    shown = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    assert f"listener plain on 127.0.0.1:{daemon.ports['plain'][0]} redirects to https: " in shown


def test_the_connection_goes_on(daemon):
    with daemon.connect("plain") as client:
        for name in ("limit", "none", "limit"):
            client.send(get(ACME + name))
            assert client.response().status == (404 if name == "none" else 200)
        client.send(get("/"))
        assert client.response().status == 308


def test_challenges_of_a_pool(daemon, homes):
    with daemon.connect("fixed") as client:
        client.send(get(ACME + "token"))
        number, peer = reached(homes)
        assert number == 1
        peer.request()
        peer.send(answer(b"thumbprint"))
        assert client.response().body == b"thumbprint"
        peer.close()
