"""What is measured: each scenario is a kind of traffic, and whether TLS is terminated in front of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """One kind of traffic."""

    name: str
    kind: str
    """``get`` or ``echo``: what backends and clients speak."""
    tls: bool
    connections: int
    about: str


SCENARIOS = [
    Scenario("get-plain", "get", False, 64, "small GET on 64 kept connections"),
    Scenario("get-tls", "get", True, 64, "small GET on 64 kept connections, TLS terminated"),
    Scenario("echo-plain", "echo", False, 256, "64 bytes of WebSocket echo on 256 connections"),
    Scenario("echo-tls", "echo", True, 256, "64 bytes of WebSocket echo on 256 connections, TLS terminated"),
]
