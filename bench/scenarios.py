"""What is measured: each scenario is a kind of traffic, and whether TLS is terminated in front of it."""

from dataclasses import dataclass

from bench.measure import Measure, fairness, idle, throughput


@dataclass(frozen=True)
class Scenario:
    """One kind of traffic."""

    name: str
    kind: str
    """What clients do: ``bench.clients`` and ``bench.messages`` know it by this name."""
    tls: bool
    connections: int
    about: str
    measure: Measure = throughput


SCENARIOS = [
    Scenario("get-plain", "get", False, 64, "small GET on 64 kept connections"),
    Scenario("get-tls", "get", True, 64, "small GET on 64 kept connections, TLS terminated"),
    Scenario("echo-plain", "echo", False, 256, "64 bytes of WebSocket echo on 256 connections"),
    Scenario("echo-tls", "echo", True, 256, "64 bytes of WebSocket echo on 256 connections, TLS terminated"),
    Scenario("browser-plain", "browser", False, 64, "GET with a browser's 12 headers on 64 kept connections"),
    Scenario("browser-tls", "browser", True, 64, "the same, TLS terminated"),
    Scenario("post", "post", False, 64, "POST of 16 KiB on 64 kept connections"),
    Scenario("chunked", "chunked", False, 64, "GET of 8 chunks of 1 KiB on 64 kept connections"),
    Scenario("tls-full", "visit", True, 16, "a connection with a full TLS handshake for each GET, 16 at a time"),
    Scenario("tls-resumed", "resume", True, 16, "a connection with a resumed TLS session for each GET, 16 at a time"),
    Scenario("open-close", "knock", False, 16, "a connection opened and closed without a word, 16 at a time"),
    Scenario("download-plain", "download", False, 4, "downloads of 100 MiB, 4 at a time"),
    Scenario("download-tls", "download", True, 4, "downloads of 100 MiB, 4 at a time, TLS terminated"),
    Scenario("upload-plain", "upload", False, 4, "uploads of 100 MiB, 4 at a time"),
    Scenario("upload-tls", "upload", True, 4, "uploads of 100 MiB, 4 at a time, TLS terminated"),
    Scenario("echo-4k-plain", "echo-4k", False, 64, "4 KiB of WebSocket echo on 64 connections"),
    Scenario("echo-4k-tls", "echo-4k", True, 64, "4 KiB of WebSocket echo on 64 connections, TLS terminated"),
    Scenario("idle", "echo", True, 5000, "5,000 idle WebSockets, TLS terminated", idle),
    Scenario(
        "fairness", "quiet", True, 8, "64 bytes of WebSocket echo now and then, beside 2 downloads, all TLS", fairness
    ),
]
QUICK = SCENARIOS[:4]
"""The traffic that matters most."""
