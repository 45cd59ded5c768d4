"""With a pass, or from a trusted network, a client is told why it was placed where it was; hosts never see the pass."""

import re
import subprocess
import sys

import pytest
from harness import listener, pool
from wire import answer, get


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    return tmp_path_factory.mktemp("admin") / "admin.sock"


@pytest.fixture(scope="module")
def daemon(start, home, control):
    listeners = [listener(), listener("within", trusted=["127.0.0.1"])]
    return start(listeners=listeners, pool=[pool(home)], admin={"socket": str(control)})


@pytest.fixture(scope="module")
def line(daemon, control):
    command = [sys.executable, "-m", "balancer", "ring", "trace", "--for", "10m", "--admin", str(control)]
    return subprocess.run(command, capture_output=True, check=True).stdout.rstrip(b"\n").decode()


def decision(daemon, backend, *lines, name="web"):
    """The decision in the answer, once the host has been asked without a word of the pass."""
    with daemon.connect(name) as client:
        client.send(get("/?token=secret-1", *lines))
        peer = backend.peer()
        assert not peer.request().all("x-balancer-trace")
        peer.send(answer(b"welcome"))
        response = client.response()
        assert response.body == b"welcome"
        return response.all("x-balancer-decision")


def test_with_a_pass(daemon, backend, line):
    (told,) = decision(daemon, backend, line)
    assert re.fullmatch(r"owner; backend=\S+; ring=[0-9a-f]+; token_from=query", told)


def test_without_a_good_pass(daemon, backend, line):
    assert not decision(daemon, backend)
    assert not decision(daemon, backend, "X-Balancer-Trace: 1")
    assert not decision(daemon, backend, line[:-1] + ("0" if line[-1] != "0" else "1"))


def test_from_a_trusted_network(daemon, backend):
    assert decision(daemon, backend, "x-balancer-trace: please", name="within")
    assert not decision(daemon, backend, name="within")
