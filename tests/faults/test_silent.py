"""Connections without a byte, as probes of a balancer in front make them: counted apart, not logged."""

import socket
import struct

import pytest
from admin_rig import NAMES, AdminDaemon
from authority import Authority
from harness import listener
from process_rig import served
from wire import Backend, eventually

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close with a reset (socket(7))."""


@pytest.fixture
def listeners(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    return [
        listener(),
        listener("tls", tls={"certificates": [Authority(folder).issue("ide.example")]}),
        listener("proxied", proxy_protocol="accept", trusted=["127.0.0.0/8"]),
    ]


def test_probes_are_counted_and_not_logged(tmp_path, listeners):
    hosts = [Backend() for _ in NAMES]
    with AdminDaemon(tmp_path, hosts, listeners=listeners) as daemon:
        for name in ("web", "tls", "proxied"):
            port = daemon.ports[name][0]
            socket.create_connection(("127.0.0.1", port)).close()
            with socket.create_connection(("127.0.0.1", port)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        def counted(name):
            found = daemon.get("/v1/status")["listeners"][name]
            return found["silent"], found["handshake_failures"]

        for name in ("web", "tls", "proxied"):
            eventually(lambda name=name: counted(name) == (2, 0))
        served(daemon, hosts)
        daemon.logged(event="request")
        assert len(daemon.stdout.lines) == 1
    for host in hosts:
        host.close()
