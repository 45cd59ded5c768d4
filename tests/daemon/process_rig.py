"""Users of a daemon with an admin API: their requests and tunnels, at whichever of the hosts they come to."""

import socket
import subprocess
import time

from admin_rig import AGREED, HANDSHAKE, NAMES
from harness import COMMAND
from wire import PATIENCE, Peer, answer, get


class Tunnel:
    """Both of its ends."""

    def __init__(self, daemon, hosts, token, client=None):
        self.client = client or daemon.connect()
        self.client.send(get(f"/?token={token}", *HANDSHAKE))
        self.host, self.peer = reached(hosts)
        self.peer.head()
        self.peer.send(AGREED)
        assert self.client.head().status == 101

    def alive(self):
        """Frames go through, both ways."""
        self.client.send(b"\x81\x84\0\0\0\0ping")
        assert self.peer.exactly(10)[-4:] == b"ping"
        self.peer.send(b"\x81\x04pong")
        assert self.client.exactly(6)[-4:] == b"pong"
        return True

    def close(self):
        self.client.close()
        self.peer.close()


def reached(hosts):
    """The host that somebody connects to, by name, and its end."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for name, host in zip(NAMES, hosts, strict=True):
            if not host.untouched():
                return name, host.peers[-1]
    raise AssertionError("nobody came")


def served(daemon, hosts, token="secret-new", client=None, param="token"):
    """A request of somebody new, and the host it came to."""
    with client or daemon.connect() as client:
        client.send(get(f"/?{param}={token}", "Connection: close"))
        name, peer = reached(hosts)
        peer.request()
        peer.send(answer())
        assert client.response().status == 200
        peer.close()
    return name


def happened(daemon, *texts):
    """Once these have been told of as events, in this order, since control has started."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.socket)
        with Peer(sock) as peer:
            peer.send(get("/v1/events", "Last-Event-ID: 1-1"))
            for text in texts:
                peer.until(text.encode())


def command(daemon, *words):
    """What a verb of the command prints, and its exit code."""
    done = subprocess.run(
        [*COMMAND[:-1], *words, "--admin", daemon.socket], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr, done.returncode
