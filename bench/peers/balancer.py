"""This balancer."""

import sys

from balancer.cli.client import Client, Unreachable
from balancer.errors import Refused
from bench.messages import COOKIE, SECRET
from bench.peers.peer import Peer, Site
from bench.peers.requests import scrape
from bench.process import BenchError

_CONFIGURATION = """
workers = {workers}
state_dir = "{folder}"
key_file = "{folder}/secret.key"
[admin]
socket = "{socket}"
listen = "127.0.0.1:{admin}"
[log]
access = "{log}"
level = "warning"
[[listener]]
name = "plain"
bind = ["127.0.0.1:{plain}"]
pool = "ide"
[[listener]]
name = "tls"
bind = ["127.0.0.1:{tls}"]
pool = "ide"
[listener.tls]
certificates = [{{ cert = "{certificate}", key = "{key}" }}]
[[pool]]
name = "ide"
token = {{ remember = "{remember}", max_length = 2048 }}
[pool.health]
type = "http"
path = "/"
interval = "{interval}s"
"""
_BACKEND = """
[[pool.backend]]
name = "ide-{number}"
address = "127.0.0.1:{port}"
weight = {weight}
"""


def _command(path: str, site: Site) -> list[str]:
    _configure(site, 1.0)
    # -I: what this Python has installed, not the sources of the folder that the benchmark runs in
    return [path, "-I", "-m", "balancer", "--config", str(site.folder / "balancer.toml")]


def _configure(site: Site, weight: float) -> None:
    """Write the file, with this weight for the first backend."""
    text = _CONFIGURATION.format(
        plain=site.plain,
        tls=site.tls,
        admin=site.admin,
        folder=site.folder,
        socket=site.socket,
        certificate=site.certificate,
        key=site.key,
        workers=site.setup.workers,
        interval=site.setup.interval,
        log=site.access_log if site.setup.access_log else "off",
        remember=COOKIE if site.setup.remember else "off",
    )
    (site.folder / "secret.key").write_bytes(SECRET)
    for number, port in enumerate(site.backends):
        text += _BACKEND.format(number=number, port=port, weight=1.0 if number else weight)
    (site.folder / "balancer.toml").write_text(text)


def _reload(site: Site, pid: int, nth: int) -> None:
    _configure(site, 1 + nth % 2 / 10)
    _ask(site, "POST", "/v1/reload", {})


def _swap(site: Site, pid: int, nth: int) -> None:
    _ask(site, "PUT", "/v1/pools/ide/backends/ide-0/weight", {"weight": 1 + nth % 2 / 10})


def _ask(site: Site, method: str, path: str, body: object) -> None:
    try:
        Client(str(site.socket)).ask(method, path, body)
    except (Refused, Unreachable) as error:
        raise BenchError(f"{method} {path}: {error}") from None


def _scrape(site: Site, pid: int, nth: int) -> None:
    scrape(site.admin)


BALANCER = Peer(
    "balancer",
    sys.executable,
    ["-I", "-m", "balancer", "--version"],
    "balancer (.+)",
    _command,
    {"reload": _reload, "swap": _swap, "scrape": _scrape},
    remembers=True,
)
"""Its program is the Python that has it installed."""
