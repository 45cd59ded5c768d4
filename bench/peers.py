"""The proxies: how each is configured and started to do the same job, on one processor.

The job: a plain and a TLS listener with the same certificate; the backend chosen by consistent hashing of the query
parameter ``token``; HTTP/1.1 with kept connections to clients and backends; ``X-Forwarded-For``, ``-Proto`` and
``-Host`` and ``X-Request-ID`` set; WebSockets let through; no access log, no health checks.
"""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SUBJECT = "balancer"
"""The proxy that is compared with the others."""


@dataclass(frozen=True)
class Site:
    """Where one proxy stands."""

    folder: Path
    """Its own, for configuration and whatever it writes."""
    plain: int
    tls: int
    """Ports of 127.0.0.1."""
    backends: list[int]
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Peer:
    """A proxy."""

    name: str
    version: Callable[[], str | None]
    """None if it is not installed."""
    command: Callable[[Site], list[str]]
    """Write its configuration; the command that runs it in the foreground."""


_BALANCER = """
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
_BALANCER_BACKEND = """
[[pool.backend]]
name = "ide-{number:02}"
address = "127.0.0.1:{port}"
"""


def _balancer_version() -> str:
    return f"{version('balancer')} on Python {platform.python_version()}"


def _balancer(site: Site) -> list[str]:
    configuration = site.folder / "balancer.toml"
    text = _BALANCER.format(plain=site.plain, tls=site.tls, certificate=site.certificate, key=site.key)
    for number, port in enumerate(site.backends, 1):
        text += _BALANCER_BACKEND.format(number=number, port=port)
    configuration.write_text(text)
    return [sys.executable, "-m", "balancer", "--config", str(configuration)]


_HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
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
backend ide
    balance url_param token
    hash-type consistent
"""


def _haproxy_version() -> str | None:
    return _said("haproxy", "-v", r"version ([^ ]+)")


def _haproxy(site: Site) -> list[str]:
    pem = site.folder / "site.pem"
    pem.touch(0o600)
    pem.write_bytes(site.certificate.read_bytes() + site.key.read_bytes())
    configuration = site.folder / "haproxy.cfg"
    text = _HAPROXY.format(plain=site.plain, tls=site.tls, pem=pem)
    for number, port in enumerate(site.backends, 1):
        text += f"    server ide-{number:02} 127.0.0.1:{port} weight 10\n"
    configuration.write_text(text)
    return ["haproxy", "-db", "-f", str(configuration)]


_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream ide {{
        hash $arg_token consistent;
        {servers}
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://ide;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-ID $request_id;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


def _nginx_version() -> str | None:
    return _said("nginx", "-v", r"nginx/(.+)")


def _nginx(site: Site) -> list[str]:
    configuration = site.folder / "nginx.conf"
    servers = " ".join(f"server 127.0.0.1:{port};" for port in site.backends)
    configuration.write_text(
        _NGINX.format(
            folder=site.folder,
            servers=servers,
            plain=site.plain,
            tls=site.tls,
            certificate=site.certificate,
            key=site.key,
        )
    )
    return ["nginx", "-e", f"{site.folder}/nginx.err", "-c", str(configuration)]


def _said(program: str, option: str, pattern: str) -> str | None:
    """The version a program names, or None without the program."""
    if shutil.which(program) is None:
        return None
    said = subprocess.run([program, option], capture_output=True, text=True, check=True)
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1].strip() if found else "unknown"


PEERS = [
    Peer(SUBJECT, _balancer_version, _balancer),
    Peer("haproxy", _haproxy_version, _haproxy),
    Peer("nginx", _nginx_version, _nginx),
]
