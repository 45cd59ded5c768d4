"""The real daemon between hostile clients and a hostile host, both played here, byte by byte.

Whatever they send: the daemon lives, every connection comes to its end, nobody gets bytes that were meant for somebody
else, and what reaches the host is whole messages, each of which an independent reader finds in what its client sent.
"""

import contextlib
import itertools
import os
import re
import select
import time

import h11
import pytest
from fuzz_http import _events, _refereed_requests
from harness import Daemon, listener, pool
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from test_fuzz_targets import PIECES
from wire import Backend, Peer, get

TIMEOUTS = {"handshake": "400ms", "head": "400ms", "idle": "400ms", "response": "400ms", "tunnel_idle": "400ms"}
ENDS = 6.0
"""Seconds after which a connection has come to its end: a timeout, a retry, two seconds of lingering, and patience."""
TOKEN = re.compile(rb"secret-c(\d{6})")
"""All of one length: what is left of one that was cut short is nobody else's."""
ASKED = re.compile(rb" /(?:\d+|b)\?token=(secret-c\d{6}) HTTP")
"""Who asks, in a request line that is none within a body."""
numbers = itertools.count()

HEADS = [
    *(b"GET /a HTTP/1.1\r\n", b"POST /b?token=secret-c0 HTTP/1.1\r\nHost: a\r\n", b"Content-Length: 10\r\n\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    *(b"Content-Length: 0\r\nContent-Length: 0\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Connection: close, host\r\n"),
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n@@@@@@@@@@@@@@@@@@@@\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 20\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 304 Not Modified\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 200 OK\nContent-Length: 20\n\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n@@@@@@@@@@@@@@@@@@@@",
    b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n@@@@@@@@@@@@@@@@@@@@",
    b"\0\xff@@@@@@@@@@@@@@@@@@@@\r\n\r\n",
]
PROXY = [
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY TCP4 x\r\n",
    b"",
    b"\r\n\r\n\0\r\nQUIT\n",
]


class Client:
    """One connection to the daemon; its token says whose bytes are whose."""

    def __init__(self, daemon, name):
        self.number = next(numbers)
        self.peer = daemon.connect(name)
        self.token = b"secret-c%06d" % self.number
        self.sent = self.got = b""
        self.begun = time.monotonic()

    def send(self, data):
        self.sent += data
        self.peer.takes(data)

    def drain(self, patience):
        """Read until the daemon has ended it."""
        self.peer.sock.settimeout(patience)
        try:
            while data := self.peer.more():
                self.got += data
        except ConnectionError:
            pass
        self.peer.close()


class Wires(RuleBasedStateMachine):
    """Clients and connections of the host, in any order of events."""

    clients = Bundle("clients")

    def __init__(self, daemon, host):
        super().__init__()
        self.daemon = daemon
        self.host = host
        self.open = []
        self.links = []

    @initialize(target=clients)
    def arrive(self):
        return self.connect("web", b"")

    @initialize(target=clients, header=st.sampled_from(PROXY))
    def arrive_behind_a_proxy(self, header):
        return self.connect("proxied", header)

    @rule(target=clients, name=st.sampled_from(["web", "proxied"]), header=st.sampled_from(PROXY))
    def connect(self, name, header):
        if len(self.open) > 5:
            return multiple()
        client = Client(self.daemon, name)
        if name == "proxied":
            client.peer.takes(header)
        self.open.append(client)
        return client

    @rule(
        client=clients,
        method=st.sampled_from(["GET", "PUT", "POST"]),
        framing=st.sampled_from(["none", "length", "chunked"]),
        cut=st.integers(0, 200),
    )
    def ask(self, client, method, framing, cut):
        """A request, maybe in two pieces, whose body looks like another one."""
        target = f"/{next(numbers)}?token={client.token.decode()}"
        smuggled = get(f"/smuggled?token={client.token.decode()}")
        match framing:
            case "none":
                data = get(target, method=method)
            case "length":
                data = get(target, f"Content-Length: {len(smuggled)}", method=method, body=smuggled)
            case _:
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled)
                data = get(target, "Transfer-Encoding: chunked", method=method, body=body)
        client.send(data[:cut])
        client.send(data[cut:])

    @rule(client=clients, pieces=st.lists(st.sampled_from(HEADS + PIECES) | st.binary(max_size=6), max_size=6))
    def babble(self, client, pieces):
        client.send(b"".join(pieces).replace(b"secret-c0", client.token))

    @rule(client=clients, how=st.sampled_from(["end", "reset"]))
    def leave(self, client, how):
        if client.peer.sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                getattr(client.peer, how)()

    @rule()
    def listen(self):
        """The host takes what has come."""
        self._collect(0.02)

    @rule(answer=st.sampled_from(ANSWERS), which=st.integers(0, 3), cut=st.integers(0, 100), last=st.booleans())
    def answer(self, answer, which, cut, last):
        """The host answers whoever asked last on a connection, well or not."""
        self._collect(0.04)
        asked = [link for link in self.links if link.owner()]
        if asked:
            link = asked[which % len(asked)]
            marked = answer.replace(b"@" * 20, b"%20b" % link.owner())
            link.answered = True
            link.peer.takes(marked[:cut])
            link.peer.takes(marked[cut:])
            if last:
                link.close()

    @rule(
        client=clients,
        method=st.sampled_from(["GET", "PUT", "POST"]),
        framing=st.sampled_from(["none", "length", "chunked"]),
        answer=st.sampled_from(ANSWERS),
        cut=st.integers(0, 100),
        last=st.booleans(),
    )
    def exchange(self, client, method, framing, answer, cut, last):
        """A request and an answer."""
        self.ask(client, method, framing, cut)
        self.answer(answer, 0, cut, last)

    @rule(which=st.integers(0, 3))
    def intrude(self, which):
        """The host goes on after its answer, on a connection that may be used for somebody else next."""
        told = [link for link in self.links if link.open and link.answered]
        if told:
            link = told[which % len(told)]
            asked = ASKED.findall(link.got)
            link.peer.takes(ANSWERS[0].replace(b"@" * 20, b"%20b" % asked[-1]))

    @rule(which=st.integers(0, 3), how=st.sampled_from(["close", "reset", "end"]))
    def hang_up(self, which, how):
        if self.links:  # how many there are is a matter of time, which Hypothesis must not see
            self.links[which % len(self.links)].close(how)

    def teardown(self):
        self._collect(0.05)
        for link in self.links:
            link.close()
        for client in self.open:
            if client.peer.sock.fileno() >= 0:
                if client.number % 8:  # the others are left to their timeouts
                    self.leave(client, "end")
                client.drain(ENDS)
        self._collect(0)
        for link in self.links:
            link.close()
            self._judge(link)
        for client in self.open:
            others = set(TOKEN.findall(client.got)) - {b"%06d" % client.number}
            assert not others, f"client {client.number} got the answers of {others}"
            self._whole(client)

    def _collect(self, patience):
        """Accept and read whatever is there."""
        while True:
            socks = [self.host.listener, *(link.peer.sock for link in self.links if link.open)]
            ready, _, _ = select.select(socks, [], [], patience)
            if not ready:
                return
            for sock in ready:
                if sock is self.host.listener:
                    self.links.append(Link(self.host.accept()))
                else:
                    next(link for link in self.links if link.open and link.peer.sock is sock).read()

    def _judge(self, link):
        """What came over this connection is whole requests, each sent by the client whose token it has."""
        data = link.got
        while data:
            reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
            reader.receive_data(data)
            head, body = _events(reader)
            if head is None or body is None:
                return  # the last one may be cut short
            owners = set(TOKEN.findall(head.target))
            assert len(owners) == 1, f"nobody's request: {head.target!r}"
            client = next(each for each in self.open if b"%06d" % each.number in owners)
            sent = _refereed_requests(client.sent)
            assert (head.method, head.target, body) in sent, f"{head.method!r} {head.target!r} was never sent"
            if any(name == b"upgrade" for name, _ in head.headers):
                return
            data = reader.trailing_data[0]

    def _whole(self, client):
        """What the client got is whole answers, but for the last one."""
        data = client.got
        while data and not data.startswith(b"HTTP/1.1 101"):
            reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
            reader.send(h11.Request(method="GET", target="/", headers=[("Host", "a"), ("Upgrade", "any")]))
            reader.send(h11.EndOfMessage())
            reader.receive_data(data)
            if _events(reader)[1] is None:
                return
            data = reader.trailing_data[0]


class Link:
    """A connection of the daemon to the host."""

    def __init__(self, peer: Peer):
        self.peer = peer
        self.got = b""
        self.open = True
        self.answered = False

    def read(self):
        try:
            data = self.peer.more()
        except OSError:
            data = b""
        self.got += data
        self.answered = self.answered and not data
        if not data:
            self.close()

    def owner(self):
        """The token of the last request, if it has not been answered."""
        tokens = ASKED.findall(self.got)
        return tokens[-1] if tokens and self.open and not self.answered else None

    def close(self, how="close"):
        if self.open:
            with contextlib.suppress(OSError):
                getattr(self.peer, how)()
            self.open = how == "end"


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


@pytest.fixture
def host():
    played = Backend()
    yield played
    played.close()


@pytest.mark.timeout(600)  # it waits a moment for each step, whatever the machine does beside
@pytest.mark.parametrize("examples", [15, pytest.param(500, marks=pytest.mark.soak)])
def test_hostile_clients_and_a_hostile_host(tmp_path, host, examples):
    listeners = [listener(), listener("proxied", proxy_protocol="accept", trusted=["127.0.0.1"])]
    with Daemon(tmp_path, listeners=listeners, pool=[pool(host)], timeouts=TIMEOUTS) as daemon:
        before = descriptors(daemon)
        run_state_machine_as_test(
            lambda: Wires(daemon, host), settings=settings(max_examples=examples, stateful_step_count=20, database=None)
        )
        host.forget()
        end = time.monotonic() + ENDS
        while descriptors(daemon) > before:
            assert time.monotonic() < end, "descriptors were left behind"
            time.sleep(0.02)
        daemon.check()
