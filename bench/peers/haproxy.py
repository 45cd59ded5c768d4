"""haproxy: https://docs.haproxy.org"""

import os
import signal

from bench.peers.peer import Peer, Site
from bench.peers.requests import exchange, scrape
from bench.process import BenchError

# The ratios: with more descriptors in use, it would not keep connections to backends.
_CONFIGURATION = """
global
    nbthread {workers}
    tune.pool-low-fd-ratio 90
    tune.pool-high-fd-ratio 95
    stats socket {socket} mode 600 level admin expose-fd listeners
defaults
    mode http
    option http-ignore-probes
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    {log}
frontend ide
    bind 127.0.0.1:{plain}
    bind 127.0.0.1:{tls} ssl crt {pem} alpn http/1.1
    unique-id-format %[uuid]
    unique-id-header X-Request-ID
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend ide
frontend metrics
    bind 127.0.0.1:{admin}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    no log
backend ide
    balance url_param token
    hash-type consistent
    option httpchk GET /
    default-server check inter {interval}s
"""


def _command(path: str, site: Site) -> list[str]:
    pem = site.folder / "site.pem"
    pem.touch(0o600)
    pem.write_bytes(site.certificate.read_bytes() + site.key.read_bytes())
    _configure(site, 10)
    return [path, "-W", "-f", str(site.folder / "haproxy.cfg")]


def _configure(site: Site, weight: int) -> None:
    """Write the file, with this weight for the first backend."""
    text = _CONFIGURATION.format(
        plain=site.plain,
        tls=site.tls,
        admin=site.admin,
        socket=site.socket,
        pem=site.folder / "site.pem",
        workers=site.setup.workers,
        interval=site.setup.interval,
        log="log stdout format raw local0\n    option httplog" if site.setup.access_log else "",
    )
    for number, port in enumerate(site.backends):
        text += f"    server ide-{number} 127.0.0.1:{port} weight {10 if number else weight}\n"
    (site.folder / "haproxy.cfg").write_text(text)


def _reload(site: Site, pid: int, nth: int) -> None:
    _configure(site, 10 + nth % 2)
    os.kill(pid, signal.SIGUSR2)


def _swap(site: Site, pid: int, nth: int) -> None:
    if answer := exchange(site.socket, b"set weight ide/ide-0 %d\n" % (10 + nth % 2)).strip():
        raise BenchError(f"haproxy refused a weight: {answer.decode()}")


def _scrape(site: Site, pid: int, nth: int) -> None:
    scrape(site.admin)


HAPROXY = Peer(
    "haproxy",
    "haproxy",
    ["-v"],
    r"version ([^ ]+)",
    _command,
    {"reload": _reload, "swap": _swap, "scrape": _scrape},
)
