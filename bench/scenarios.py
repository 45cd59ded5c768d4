"""The scenarios: kinds of traffic, with or without TLS, and conditions of the proxy."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import Measure, beyond_rest, capacity, fairness, idle, latency, storm, tail, throughput
from bench.peers.peer import ORDINARY, Peer, Setup


@dataclass(frozen=True)
class State:
    """The condition of a proxy while it is measured."""

    name: str = ""
    setup: Setup = ORDINARY
    crowd: int = 0
    """Number of additional idle connections."""
    event: str = ""
    """Operator action that is repeated during the measurement, a key of ``Peer.events``."""


@dataclass(frozen=True)
class Scenario:
    """A measurement of one kind of traffic."""

    name: str
    kind: str
    """Kind of traffic: what ``bench.clients`` and ``bench.messages`` do for this name."""
    tls: bool
    connections: int
    about: str
    measure: Measure = throughput
    states: Sequence[State] = (State(),)
    """One, or two to compare."""

    def suits(self, peer: Peer) -> bool:
        """Return whether the proxy supports the scenario's events and settings."""
        known = all(not state.event or state.event in peer.events for state in self.states)
        return known and (peer.remembers or not any(state.setup.remember for state in self.states))


_MANY = Setup(backends=500, interval=10)


def _tail(event: str, state: str, about: str) -> Scenario:
    states = State("left alone", _MANY), State(state, _MANY, event=event)
    about = f"500 GET per second, 500 backends, and {about} three times per second"
    return Scenario(event, "steady", False, 32, about, tail, states)


SCENARIOS = [
    Scenario("get-plain", "get", False, 64, "small GET on 64 kept connections"),
    Scenario("get-tls", "get", True, 64, "small GET on 64 kept connections, TLS terminated"),
    Scenario("echo-plain", "echo", False, 200, "64 bytes of WebSocket echo on 200 connections"),
    Scenario("echo-tls", "echo", True, 200, "64 bytes of WebSocket echo on 200 connections, TLS terminated"),
    Scenario("one-get", "get", False, 1, "small GET, one at a time"),
    Scenario("one-echo", "echo", False, 1, "64 bytes of WebSocket echo, one at a time"),
    Scenario("browser-plain", "browser", False, 64, "GET with a browser's 12 headers on 64 kept connections"),
    Scenario("browser-tls", "browser", True, 64, "the same, TLS terminated"),
    Scenario("post-plain", "post", False, 64, "POST of 16 KiB on 64 kept connections"),
    Scenario("post-tls", "post", True, 64, "POST of 16 KiB on 64 kept connections, TLS terminated"),
    Scenario("chunked", "chunked", False, 64, "GET of 8 chunks of 1 KiB on 64 kept connections"),
    Scenario("connect", "connect", False, 16, "a connection for each GET, 16 at a time"),
    Scenario("tls-full", "tls-full", True, 16, "a connection with a full TLS handshake for each GET, 16 at a time"),
    Scenario(
        "tls-resumed",
        "tls-resumed",
        True,
        16,
        "a connection with a resumed TLS session for each GET, 16 at a time",
    ),
    Scenario("open-close", "open-close", False, 16, "a connection opened and closed without data, 16 at a time"),
    Scenario("download-plain", "download", False, 4, "downloads of 100 MiB, 4 at a time"),
    Scenario("download-tls", "download", True, 4, "downloads of 100 MiB, 4 at a time, TLS terminated"),
    Scenario("upload-plain", "upload", False, 4, "uploads of 100 MiB, 4 at a time"),
    Scenario("upload-tls", "upload", True, 4, "uploads of 100 MiB, 4 at a time, TLS terminated"),
    Scenario("echo-4k-plain", "echo-4k", False, 200, "4 KiB of WebSocket echo on 200 connections"),
    Scenario("echo-4k-tls", "echo-4k", True, 200, "4 KiB of WebSocket echo on 200 connections, TLS terminated"),
    Scenario("idle", "echo", True, 5000, "5,000 idle WebSockets, TLS terminated", idle),
    Scenario(
        "fairness",
        "quiet",
        True,
        8,
        "occasional WebSocket echoes of 64 bytes during 2 downloads, all TLS",
        fairness,
    ),
    Scenario(
        "storm",
        "quiet",
        True,
        8,
        "occasional WebSocket echoes of 64 bytes beside 200 full TLS handshakes a second",
        storm,
    ),
    Scenario("latency-plain", "quiet", False, 1, "occasional WebSocket echoes of 64 bytes, nothing else", latency),
    Scenario("latency-tls", "quiet", True, 1, "the same, TLS terminated", latency),
    Scenario(
        "access-log",
        "get",
        False,
        64,
        "small GET on 64 kept connections, without and with an access log in a file",
        states=(State("no access log"), State("access log", Setup(access_log=True))),
    ),
    Scenario(
        "get-cookie",
        "cookie",
        False,
        64,
        "small GET with a user's sealed cookie on 64 kept connections, which is forwarded or read",
        states=(State("remember off"), State("remember on", Setup(remember=True))),
    ),
    Scenario(
        "two-workers",
        "get",
        False,
        200,
        "small GET on 200 kept connections, with one and two workers",
        capacity,
        (State("one worker"), State("two workers", Setup(workers=2))),
    ),
    Scenario(
        "crowd",
        "get",
        False,
        64,
        "small GET on 64 connections, beside 10 and 10,000 idle connections",
        beyond_rest,
        (State("10 idle", crowd=10), State("10,000 idle", crowd=10_000)),
    ),
    Scenario(
        "backends",
        "many",
        False,
        64,
        "small GET of 2,000 users on 64 connections, to 3 and 500 backends",
        beyond_rest,
        (State("3 backends", Setup(interval=10)), State("500 backends", _MANY)),
    ),
    _tail("reload", "reloading", "a reload of a changed file"),
    _tail("swap", "swapping", "a change of a weight, and so of the ring,"),
    _tail("scrape", "scraping", "a scrape of metrics"),
]
QUICK = SCENARIOS[:4]
"""The most important ones."""
