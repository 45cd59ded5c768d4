"""Peers that vanish without a word: a cut link, and a packet that is lost, between network namespaces."""

import contextlib
import socket
import time

import pytest
from harness import Daemon, listener, pool
from machines import sh, wired
from test_e2e_tunnels import AGREED, HANDSHAKE
from wire import Backend, eventually, get

pytestmark = pytest.mark.site

IDLE = 2
"""Seconds of silence after which peers are probed; the probes are a second apart."""
LB, FAR = "192.0.2.1", "192.0.2.2"


@pytest.fixture(params=["plain", "tls"])
def tunnel(request, tmp_path, authority):
    """Makes a tunnel whose client or backend is on the other machine: the machines, the daemon and both ends."""
    with wired(2) as (near, far):
        homes = {}
        for name, machine, host in (("near", near, LB), ("far", far, FAR)):
            with machine:
                homes[name] = Backend()
                homes[name].listener.close()
                homes[name].listener = socket.create_server((host, 0))
                homes[name].listener.settimeout(30)
        safe = {"tls": {"certificates": [authority.issue("ide.example")]}} if request.param == "tls" else {}
        listeners = [listener(name, bind=[f"{LB}:0"], pool=name, **safe) for name in homes]
        pools = [pool(home, name=name) for name, home in homes.items()]
        timeouts = {"send": "1s", "tcp_keepalive": f"{IDLE}s"}
        with near:
            daemon = Daemon(tmp_path, listeners=listeners, pool=pools, timeouts=timeouts)
        with daemon, contextlib.ExitStack() as stack:
            for home in homes.values():
                stack.callback(home.close)

            def make(backend):
                """``backend`` is where the backend is; the client is on the other machine."""
                trusted = authority.client() if safe else None
                with far if backend == "near" else near:
                    client = daemon.connect(backend, tls=trusted, server_name="ide.example" if safe else None, host=LB)
                stack.callback(client.close)
                client.send(get("/ws?token=secret-1", *HANDSHAKE))
                peer = homes[backend].accept()
                peer.head()
                peer.send(AGREED)
                client.head()
                away, here = (client, peer) if backend == "near" else (peer, client)
                away.send(b"acknowledged")  # with it all that came from here, for acknowledgements alone may be delayed
                here.exactly(12)
                return (near, far), daemon, client, peer

            yield make


def cut(machine):
    with machine:
        sh("ip link set eth0 down")


@pytest.mark.parametrize("backend", ["near", "far"])
def test_a_link_that_is_cut_while_bytes_are_sent(tunnel, backend):
    (_, far), daemon, client, peer = tunnel(backend)
    here = peer if backend == "near" else client
    cut(far)
    here.send(b"typed")
    assert here.ended()
    entry = daemon.logged(event="close")
    side = "client" if backend == "near" else "backend"
    assert (entry["ended"], entry["by"]) == (f"the {side} acknowledged nothing", side)


@pytest.mark.parametrize("backend", ["near", "far"])
def test_a_link_that_is_cut_in_silence(tunnel, backend):
    (_, far), daemon, client, peer = tunnel(backend)
    began = time.monotonic()
    cut(far)
    here = peer if backend == "near" else client
    assert here.ended()
    assert time.monotonic() - began > IDLE + 1.5, "it takes three probes a second apart"
    assert "ETIMEDOUT" in daemon.logged(event="close")["ended"]


@pytest.mark.parametrize("backend", ["near", "far"])
def test_exactly_one_probe_that_is_lost(tunnel, backend):
    """With TCP_USER_TIMEOUT, shorter than the silence, this ends the tunnel."""
    (_, far), _, client, peer = tunnel(backend)
    with far:
        # Only probes are shorter than 60 bytes and come from there; the first of them exhausts the quota.
        sh(f"""nft 'add table inet lossy; add chain inet lossy in {{ type filter hook input priority 0; }};
            add rule inet lossy in ip saddr {LB} meta length < 60 counter;
            add rule inet lossy in ip saddr {LB} meta length < 60 quota until 60 bytes counter drop'""")

        def probes():
            counts = [int(line.split(" packets ")[1].split()[0]) for line in listed() if " packets " in line]
            return counts if counts[0] >= 3 else None

        def listed():
            return sh("nft list table inet lossy").splitlines()

        assert eventually(probes)[1] == 1, "one was dropped"
    client.send(b"alive?")
    assert peer.exactly(6) == b"alive?"
    peer.send(b"alive!")
    assert client.exactly(6) == b"alive!"
