"""The admin API of the real daemon under any requests: each is answered, never with 500; a refusal changes nothing."""

import contextlib
import json
import socket
import string

import pytest
from admin_rig import NAMES, AdminDaemon
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from targets import corpus
from wire import Peer

from balancer.admin.routing import ROUTES

PATHS = [
    path.replace("{pool}", pool).replace("{backend}", backend)
    for path in ROUTES
    for pool in ("ide", "none")
    for backend in ("ide-01", "none")
]
words = st.text(string.ascii_letters + string.digits + "-._~%/?=&{}", max_size=12)
bodies = st.one_of(
    st.sampled_from([data[1:] for data in corpus("admin_body")]),
    st.builds(json.dumps, st.recursive(st.none() | st.booleans() | st.floats() | words, st.lists)).map(str.encode),
    st.binary(max_size=20),
)


class Services(RuleBasedStateMachine):
    """Operators who do what they may, and others who try anything."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon = daemon
        self._look()

    @rule(
        method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]),
        path=st.sampled_from(PATHS),
        rest=words,
        body=bodies,
        match=st.sampled_from([None, "*", '"stale"', '"', 'W/"x"']),
    )
    def anything(self, method, path, rest, body, match):
        if "{" in path:
            path = path.replace("{plan}", "p-1").replace("{digest}", "0123456789abcdef")
        if path.endswith("/events"):
            return  # its answer does not end
        before = self._version()
        fields = {} if match is None else {"If_Match": match}
        answer = self.daemon.ask(method, f"{path}?{rest}", body, **fields)
        assert answer.status < 500, answer.text
        if method != "HEAD" and answer.headers["content-type"] == "application/json":
            assert isinstance(answer.json, dict)
        if answer.status >= 400 or method in {"GET", "HEAD"}:
            assert self._version() == before, "a refusal has changed something"
        else:
            self._look()

    @rule(data=st.sampled_from(corpus("admin_wire")) | st.binary(max_size=60))
    def babble(self, data):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.daemon.socket)
        with Peer(sock) as peer, contextlib.suppress(OSError):
            peer.send(data)
            peer.end()
            assert b"HTTP/1.1 5" not in peer.rest()

    @rule(name=st.sampled_from(NAMES), state=st.sampled_from(["ready", "drain", "maint"]), stale=st.booleans())
    def set_state(self, name, state, stale):
        """A change with the right version is made, unless nobody would be left; one with another is not."""
        path, body = f"./backends/{name}/state", {"state": state}
        before = self._version()
        answer = self.daemon.ask("PUT", path, body, If_Match='"stale"' if stale else before)
        if stale:
            assert answer.status == 412
        elif answer.status == 200:
            assert self._version() != before
            self.states[name] = state
        else:
            assert answer.status == 409  # nobody would be left
            assert self._version() == before

    @invariant()
    def states_are_as_they_were_set(self):
        found = {each["name"]: each["state"] for each in self.daemon.get("./backends")["backends"]}
        assert {name: found[name] for name in NAMES} == self.states

    def _look(self):
        found = {each["name"]: each["state"] for each in self.daemon.get("./backends")["backends"]}
        self.states = {name: found[name] for name in NAMES}

    def _version(self):
        return self.daemon.ask("GET", "./backends").headers["etag"]

    def teardown(self):
        self.daemon.check()


@pytest.fixture
def daemon(tmp_path):
    with AdminDaemon(tmp_path) as running:
        yield running


def test_any_requests(daemon):
    run_state_machine_as_test(
        lambda: Services(daemon), settings=settings(max_examples=8, stateful_step_count=20, database=None)
    )
