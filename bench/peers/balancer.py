"""This balancer."""

import sys

from bench.peers.peer import Peer, Site

_CONFIGURATION = """
workers = 1
[log]
access = "off"
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
[pool.health]
type = "off"
"""
_BACKEND = """
[[pool.backend]]
name = "ide-{number:02}"
address = "127.0.0.1:{port}"
"""


def _command(path: str, site: Site) -> list[str]:
    configuration = site.folder / "balancer.toml"
    text = _CONFIGURATION.format(plain=site.plain, tls=site.tls, certificate=site.certificate, key=site.key)
    for number, port in enumerate(site.backends, 1):
        text += _BACKEND.format(number=number, port=port)
    configuration.write_text(text)
    return [path, "-m", "balancer", "--config", str(configuration)]


_VERSION = (
    "import platform, importlib.metadata as m; print(m.version('balancer'), 'on Python', platform.python_version())"
)

BALANCER = Peer("balancer", sys.executable, ["-c", _VERSION], "(.+)", _command)
"""Its program is the Python that has it installed."""
