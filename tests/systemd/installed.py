"""The daemon as docs/installation.md installs it on a Debian: units, user, folders, configuration."""

import socket
from pathlib import Path

from debian import RELEASE
from harness import listener, pool, toml
from wire import PATIENCE, Peer, answer, get

ROOT = Path(__file__).parents[2]
UNITS = ("balancer.socket", "balancer.service")
RELEASES = "/opt/balancer/releases"
COMMAND = f"{RELEASES}/current/bin/balancer"
VERSION = "1.1"
FILE = "/etc/balancer/balancer.toml"
PORT = 443
_USER = """
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin balancer
install -d -m 0750 -g balancer /etc/balancer
"""


class Installed:
    """The daemon on ``debian``, with the addresses of the units, in front of ``backend``, which the test plays."""

    def __init__(self, debian, backend):
        self.debian = debian
        self.backend = backend
        self.release(VERSION)
        self.current(VERSION)
        debian.run("sh", "-ec", _USER)
        self.configure()
        for unit in UNITS:
            debian.write(f"/etc/systemd/system/{unit}", (ROOT / "systemd" / unit).read_text())
        self.systemctl("daemon-reload")
        self.systemctl("enable", "--now", *UNITS)

    def release(self, version):
        """Install the sources of this work tree as a release of that version."""
        self.debian.run("sh", "-ec", RELEASE, "sh", f"{RELEASES}/{version}", version)

    def current(self, version):
        """Have the link ``current`` lead to a release."""
        self.debian.run("ln", "-sfn", version, f"{RELEASES}/current")

    def configure(self, **sections):
        """Write the file, with these sections beside or instead of those that it has to have."""
        config = {
            "state_dir": "/var/lib/balancer",
            "admin": {"socket": "/run/balancer/admin.sock"},
            "listener": [listener(bind=[f"0.0.0.0:{PORT}", f"[::]:{PORT}"])],
            "pool": [pool(self.backend)],
        }
        self.write("".join(f"{key} = {toml(value)}\n" for key, value in (config | sections).items()))

    def write(self, text):
        self.debian.write(FILE, text, "0640")
        self.debian.run("chgrp", "balancer", FILE)

    def systemctl(self, *words, check=True):
        return self.debian.run("systemctl", *words, check=check)

    def balancer(self, *words, check=True):
        """Run the command as root, as the documentation has operators do."""
        return self.debian.run(COMMAND, *words, check=check)

    def main_pid(self):
        return int(self.debian.show("balancer.service", "MainPID"))

    def active(self):
        """The state of the socket unit and of the service."""
        return [self.debian.show(unit, "ActiveState") for unit in UNITS]

    def serves(self, host="127.0.0.1"):
        """Does a request get through to the backend and its answer back?"""
        with self.connect(host) as client:
            client.send(get())
            return self.answers(client)

    def answers(self, client):
        """Does the request that this client has sent get through to the backend and its answer back?"""
        with self.backend.accept() as peer:
            peer.request()
            peer.send(answer(b"here", "Connection: close"))
            return client.response().body == b"here"

    def connect(self, host="127.0.0.1"):
        """A client of the listener."""
        with self.debian.network:
            return Peer(socket.create_connection((host, PORT), PATIENCE))
