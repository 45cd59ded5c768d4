"""`balancer ring verify --against URL`: where does a running haproxy or nginx send users of our own making?

Each probe is a small GET with a token of its own. What it may cost is bounded in number, pace and time, and unless a
host is named twice, in ``URL`` and with ``--allow-host``, nothing is sent beyond loopback.
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

from balancer.cli.live import argument
from balancer.cli.tables import parse_rate
from balancer.config.model import Pool, Token
from balancer.errors import Refused
from balancer.migrate.logs.entry import Request
from balancer.migrate.verify import Verifier

_PATIENCE = 5.0
"""Seconds for one answer."""
_SLACK = 30.0
"""Seconds that all may take longer than their pace says."""
_MOST = 100_000
_BODY = 16384
_BEFORE, _AFTER = r"(?<![A-Za-z0-9_.:-])", r"(?![A-Za-z0-9_-]|[.:][A-Za-z0-9])"
"""What no mark may be the end or the beginning of; a full stop may follow."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the verb."""
    group = parser.add_argument_group("asking a running balancer")
    group.add_argument("--against", metavar="URL", help="where it is: probes with tokens of our own are sent there")
    mark = group.add_mutually_exclusive_group()
    mark.add_argument("--header", metavar="NAME", help="the header of an answer that names the host it comes from")
    mark.add_argument("--body", action="store_true", help="the body of an answer names the host it comes from")
    group.add_argument("--count", type=int, default=2000, metavar="N", help="probes to send (%(default)s)")
    group.add_argument(
        "--rate", type=argument(parse_rate), default=200.0, metavar="200/s", help="how many in a time (%(default)g/s)"
    )
    group.add_argument("--allow-host", metavar="HOST", help="the host of URL once more, if that is not this machine")
    group.add_argument("--server-name", metavar="NAME", help="ask for this host, if URL has but its address")
    group.add_argument("--ca-file", type=Path, metavar="FILE", help="certificates (PEM) to trust, for https")


def ask(args: argparse.Namespace, pools: list[Pool], verifier: Verifier) -> None:
    """Send the probes, and have each answer compared. Raises ``Refused`` if that is not possible, or not allowed."""
    if len(pools) > 1:
        raise Refused(f"choose a pool with --pool: {', '.join(pool.name for pool in pools)}")
    if not args.header and not args.body:
        raise Refused("how is one to know which host has answered? --header NAME, or --body")
    if not 1 <= args.count <= _MOST or not 0 < args.rate <= 1000:
        raise Refused(f"--count is at most {_MOST}, and --rate at most 1000/s")
    url = _url(args)
    rule = pools[0].token
    if rule.source == "client_ip":
        raise Refused("this pool places clients by their address, of which a probe has but one: verify it by a log")
    asker = _Asker(url, args)
    began = time.monotonic()
    try:
        for number in range(1, args.count + 1):
            due = (number - 1) / args.rate
            if (ahead := began + due - time.monotonic()) > 0:
                time.sleep(ahead)
            elif ahead < -_SLACK:
                raise Refused(f"it answers more slowly than asked: {number - 1} answers by now; try a lower --rate")
            token = blake2b(number.to_bytes(8, "big"), digest_size=16, person=b"balancer verify").hexdigest()
            target, fields = _with_token(url, rule, token)
            status, text = asker.answer(target, fields)
            server = _host(text, verifier.labels) or f"answer {status} without the mark of a host"
            lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields.items())
            when = int(time.monotonic()) + 1
            verifier.request(Request(when, target.encode(), "", None, (server,), fields=lines), f"probe {number + 1}")
    finally:
        asker.close()


def _url(args: argparse.Namespace) -> SplitResult:
    try:
        url: SplitResult = urlsplit(args.against)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not url.username
        good = good and args.against.isascii() and args.against.isprintable() and " " not in args.against
    except ValueError:  # a port that is none
        good = False
    if not good:
        raise Refused("--against wants http://HOST:PORT/ or https://HOST:PORT/, with a path and query if need be")
    return url


def _with_token(url: SplitResult, rule: Token, token: str) -> tuple[str, dict[str, str]]:
    """A target, and header fields."""
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


class _Asker:
    """One connection, opened again when the other side has closed it."""

    def __init__(self, url: SplitResult, args: argparse.Namespace) -> None:
        host = url.hostname or ""
        self._header = args.header
        self._name = args.server_name or host
        self._host = args.server_name or url.netloc
        self._address = _resolved(host, url.port or (443 if url.scheme == "https" else 80), args.allow_host)
        self._tls = _context(args.ca_file) if url.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def answer(self, target: str, fields: dict[str, str]) -> tuple[int, str]:
        """Status, and the text that should name the host. Raises ``Refused`` if there is no answer, tried twice."""
        try:
            return self._exchange(target, fields)
        except (OSError, http.client.HTTPException):
            self.close()
        try:
            return self._exchange(target, fields)
        except ssl.SSLCertVerificationError as error:
            message = f"the certificate is not good: {error.verify_message}; see --server-name and --ca-file"
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
            self._connection = http.client.HTTPConnection(*self._address, timeout=_PATIENCE)
            sock = socket.create_connection(self._address, _PATIENCE)
            self._connection.sock = self._tls.wrap_socket(sock, server_hostname=self._name) if self._tls else sock
        headers = {"Host": self._host, "User-Agent": "balancer-ring-verify", **fields}
        self._connection.request("GET", target, headers=headers)
        response = self._connection.getresponse()
        body = response.read(_BODY)
        if not response.isclosed():  # there is more than anybody needs
            self.close()
        return response.status, body.decode("latin-1") if self._header is None else response.getheader(self._header, "")


def _resolved(host: str, port: int, allowed: str | None) -> tuple[str, int]:
    """An address of the host, the one that is asked: a name must not lead elsewhere later."""
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise Refused(f"{host} has no address: {error.strerror}") from None
    if not ip_address(address.partition("%")[0]).is_loopback and allowed != host:
        raise Refused(f"{host} is not this machine: if probes may be sent there, say so with --allow-host {host}")
    return address, port


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise Refused(f"--ca-file {ca_file}: {error.strerror or 'there is no certificate in it'}") from None


def _host(text: str, marks: dict[str, str]) -> str | None:
    """The one host that the text names."""
    if (whole := marks.get(text.strip())) is not None:
        return whole
    words = "|".join(map(re.escape, sorted(marks, key=len, reverse=True)))
    found = {marks[mark] for mark in re.findall(f"{_BEFORE}(?:{words}){_AFTER}", text)}
    return found.pop() if len(found) == 1 else None
