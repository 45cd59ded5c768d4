"""`balancer ring verify --against URL`: compare placement with a running haproxy or nginx by sending it probes.

Each probe is a small GET with a token made up for it. Their number, rate and duration are bounded. Probes leave the
loopback interface only if the host is named twice, in ``URL`` and with ``--allow-host``.
"""

import argparse
import http.client
import re
import socket
import ssl
import time
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from balancer.config.pool import PoolConfig, TokenConfig
from balancer.errors import Refused
from balancer.migrate.logs.entry import LoggedRequest
from balancer.migrate.verify import Verifier

_ANSWER_TIMEOUT = 5.0
"""Seconds for one answer."""
_MAX_DELAY = 30.0
"""Seconds that the probes may fall behind their rate."""
_MAX_PROBES = 100_000
_MAX_RATE = 1000
"""Probes per second."""
_MAX_BODY = 16384
_BEFORE, _AFTER = r"(?<![A-Za-z0-9_.:-])", r"(?![A-Za-z0-9_-]|[.:][A-Za-z0-9])"
"""The edges of a mark: it must not be part of a longer name or address; a full stop may follow."""


def send_probes(args: argparse.Namespace, pools: list[PoolConfig], verifier: Verifier) -> None:
    """Send the probes and pass each answer to ``verifier``. Raises ``Refused`` if that is impossible or not allowed."""
    if len(pools) > 1:
        raise Refused(f"choose a pool with --pool: {', '.join(pool.name for pool in pools)}")
    if not args.header and not args.body:
        raise Refused("give --header NAME or --body, where answers name the backend they come from")
    if not 1 <= args.count <= _MAX_PROBES or not 0 < args.rate <= _MAX_RATE:
        raise Refused(f"--count is at most {_MAX_PROBES}, and --rate at most {_MAX_RATE}/s")
    url = _url(args)
    rule = pools[0].token
    if rule.source == "client_ip":
        raise Refused("this pool places clients by address, and all probes come from one: verify it with a log")
    prober = _Prober(url, args)
    began = time.monotonic()
    try:
        for number in range(1, args.count + 1):
            due = (number - 1) / args.rate
            if (ahead := began + due - time.monotonic()) > 0:
                time.sleep(ahead)
            elif ahead < -_MAX_DELAY:
                raise Refused(f"answers come too slowly: {number - 1} so far; use a lower --rate")
            token = blake2b(number.to_bytes(8, "big"), digest_size=16, person=b"balancer verify").hexdigest()
            target, fields = _with_token(url, rule, token)
            status, text = prober.answer(target, fields)
            server = _backend_named(text, verifier.labels) or f"answer {status} that names no backend"
            lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields.items())
            when = int(time.monotonic()) + 1
            verifier.request(
                LoggedRequest(when, target.encode(), "", None, (server,), fields=lines), f"probe {number + 1}"
            )
    finally:
        prober.close()


def _url(args: argparse.Namespace) -> SplitResult:
    try:
        url: SplitResult = urlsplit(args.against)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not url.username
        good = good and args.against.isascii() and args.against.isprintable() and " " not in args.against
    except ValueError:  # not a port number
        good = False
    if not good:
        raise Refused("--against expects http://HOST:PORT/ or https://HOST:PORT/, optionally with a path and query")
    return url


def _with_token(url: SplitResult, rule: TokenConfig, token: str) -> tuple[str, dict[str, str]]:
    """The request target and header fields that carry the token."""
    path, query = url.path or "/", f"?{url.query}" if url.query else ""
    match rule.source:
        case "query":
            return f"{path}{query or '?'}{'&' if query else ''}{rule.param}={token}", {}
        case "header":
            return path + query, {rule.header or "": token}
        case "cookie":
            return path + query, {"Cookie": f"{rule.cookie}={token}"}
        case _:
            return f"{path.rstrip('/')}/{token}{query}", {}


class _Prober:
    """Sends probes over one connection, which is reopened when the other side has closed it."""

    def __init__(self, url: SplitResult, args: argparse.Namespace) -> None:
        host = url.hostname or ""
        self._header = args.header
        self._name = args.server_name or host
        self._host = args.server_name or url.netloc
        self._address = _resolved(host, url.port or (443 if url.scheme == "https" else 80), args.allow_host)
        self._tls = _context(args.ca_file) if url.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def answer(self, target: str, fields: dict[str, str]) -> tuple[int, str]:
        """Send a probe; return the status and the text that should name the backend.

        Tries a second time on a new connection. Raises ``Refused`` if that fails too.
        """
        try:
            return self._exchange(target, fields)
        except (OSError, http.client.HTTPException):
            self.close()
        try:
            return self._exchange(target, fields)
        except ssl.SSLCertVerificationError as error:
            message = f"invalid certificate: {error.verify_message}; see --server-name and --ca-file"
            raise Refused(message) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise Refused(f"no answer from {self._address[0]}:{self._address[1]}: {reason}") from None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, target: str, fields: dict[str, str]) -> tuple[int, str]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._address, timeout=_ANSWER_TIMEOUT)
            sock = socket.create_connection(self._address, _ANSWER_TIMEOUT)
            self._connection.sock = self._tls.wrap_socket(sock, server_hostname=self._name) if self._tls else sock
        headers = {"Host": self._host, "User-Agent": "balancer-ring-verify", **fields}
        self._connection.request("GET", target, headers=headers)
        response = self._connection.getresponse()
        body = response.read(_MAX_BODY)
        if not response.isclosed():  # the rest of a long body would have to be read first
            self.close()
        return response.status, body.decode("latin-1") if self._header is None else response.getheader(self._header, "")


def _resolved(host: str, port: int, allowed: str | None) -> tuple[str, int]:
    """Resolve the host once: a later lookup could lead to another machine than the one that was allowed."""
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise Refused(f"{host} has no address: {error.strerror}") from None
    if not ip_address(address.partition("%")[0]).is_loopback and allowed != host:
        raise Refused(f"{host} is not this machine: to allow probes to it, add --allow-host {host}")
    return address, port


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise Refused(f"--ca-file {ca_file}: {error.strerror or 'it contains no certificate'}") from None


def _backend_named(text: str, marks: dict[str, str]) -> str | None:
    """The backend that the text names, or None if it names none or several."""
    if (whole := marks.get(text.strip())) is not None:
        return whole
    words = "|".join(map(re.escape, sorted(marks, key=len, reverse=True)))
    found = {marks[mark] for mark in re.findall(f"{_BEFORE}(?:{words}){_AFTER}", text)}
    return found.pop() if len(found) == 1 else None
