"""What the demo makes up for itself: free ports, and the configuration of the balancer."""

import contextlib
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from balancer.config.scalars import Address
from balancer.demo.certificate import CertificateFiles
from balancer.errors import Refused

ATTEMPTS = 100
"""Ports to look at before giving up."""


def loopbacks() -> list[str]:
    """The loopback addresses of this machine: 127.0.0.1, and ::1 where there is IPv6."""
    found = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
        trial.bind(("::1", 0))
        found.append("::1")
    return found


def free_port(first: int, hosts: list[str]) -> int:
    """The first port from ``first`` on that is free on all ``hosts``; ``Refused`` if there is none nearby.

    Below the ephemeral ports: there, an outgoing connection could take the port of a stopped demo host.
    """
    if not 1 <= first <= 65535:
        raise Refused(f"a port lies between 1 and 65535, not {first}")
    last = min(first + ATTEMPTS, 65536) - 1
    for port in range(first, last + 1):
        if all(_is_free(host, port) for host in hosts):
            return port
    raise Refused(f"no port from {first} to {last} is free on {' and '.join(hosts)}: choose another with --port")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Setup:
    """Where everything is."""

    folder: Path
    certificate: CertificateFiles
    bind: tuple[Address, ...]
    """Where the balancer listens."""
    admin: Address
    hosts: dict[str, Address]

    @property
    def port(self) -> int:
        return self.bind[0].port

    @property
    def socket(self) -> Path:
        """The balancer's admin socket."""
        return self.folder / "admin.sock"

    @property
    def config(self) -> Path:
        return self.folder / "demo.toml"


def make_setup(folder: Path, certificate: CertificateFiles, port: int, names: Iterable[str]) -> Setup:
    """Find ports, from ``port`` on for the balancer, and write its configuration into ``folder``."""
    hosts: dict[str, Address] = {}
    after = 4000
    for name in names:
        after = free_port(after + 1, ["127.0.0.1"])
        hosts[name] = Address("127.0.0.1", after)
    addresses = loopbacks()
    port = free_port(port, addresses)
    admin = Address("127.0.0.1", free_port(9600, ["127.0.0.1"]))
    setup = Setup(folder, certificate, tuple(Address(host, port) for host in addresses), admin, hosts)
    (folder / "state").mkdir()
    setup.config.write_text(_toml(setup))
    return setup


def _toml(setup: Setup) -> str:
    backends = "".join(
        f"\n[[pool.backend]]\nname = {_text(name)}\naddress = {_text(address)}\n"
        for name, address in setup.hosts.items()
    )
    return f"""\
# The balancer of `balancer demo`, made by it and removed at its end.
workers = 2
state_dir = {_text(setup.folder / "state")}

[admin]
socket = {_text(setup.socket)}
listen = {_text(setup.admin)}

[log]
access = {_text(setup.folder / "access.log")}
level = "warning"

[timeouts]
drain = "1s"  # at the end: who closes the demo does not wait for its tabs

[[listener]]
name = "ide"
bind = [{", ".join(map(_text, setup.bind))}]
pool = "ide"

[listener.tls]
certificates = [{{ cert = {_text(setup.certificate.cert)}, key = {_text(setup.certificate.key)} }}]

[[pool]]
name = "ide"
linger = "100ms"  # so that Reconnect is enough to bring a user back to a host that runs again

[pool.health]
type = "http"
path = "/health"
interval = "500ms"
timeout = "500ms"
rise = 1
fall = 2
{backends}"""


def _text(value: object) -> str:
    """A TOML string: JSON's are TOML's (TOML 1.0, basic strings)."""
    return json.dumps(str(value), ensure_ascii=False)
