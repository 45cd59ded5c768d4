"""A client of the admin API: find the daemon's address, send a request, turn failures into messages."""

import argparse
import http.client
import json
import os
import re
import socket
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from balancer.config.scalars import parse_address
from balancer.errors import Refused

DEFAULT = "/run/balancer/admin.sock"
TOKEN_VARIABLE = "BALANCER_ADMIN_TOKEN"
ANSWER_TIMEOUT = 60.0
"""Seconds the daemon may take to answer; plans of large rings take several."""
_SOCKET = re.compile(r"""\bsocket[ \t]*=[ \t]*["']([^"'\n]+)["']""")
_NOT_ADMIN_API = "the answer is not from the balancer's admin API"


class Unreachable(Exception):
    """The daemon did not answer, or something else answered in its place."""


class Client:
    """A client of one daemon.

    ``address`` is the path of its Unix socket, or ``http://host:port``; ``token`` is the bearer token for the latter.
    Each request opens a connection of its own. ``timeout`` is in seconds.
    """

    timeout = ANSWER_TIMEOUT

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self._headers = {"Balancer-Author": _author()}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request and return the JSON object it is answered with.

        Raises ``Refused`` with the daemon's message if it answers with an error, ``Unreachable`` if it does not answer.
        """
        text = self.text(method, path, body, accept="application/json")
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._unreachable(_NOT_ADMIN_API)
        return answer

    def text(self, method: str, path: str, body: object = None, *, accept: str = "text/plain") -> str:
        """Send a request and return its answer as text of the media type ``accept``. Raises as ``ask`` does."""
        with self._answer(method, path, body, {"Accept": accept}) as response:
            return response.read().decode(errors="replace")

    def lines(self, path: str, fields: Mapping[str, str]) -> Iterator[str]:
        """Yield the lines of an endless answer as they arrive, until the daemon closes it; ``fields`` are headers."""
        with self._answer("GET", path, None, fields) as response, suppress(ConnectionError, http.client.IncompleteRead):
            for line in response:
                yield line.decode().rstrip("\n")

    @contextmanager
    def _answer(
        self, method: str, path: str, body: object, fields: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {**self._headers, **fields})
            response = connection.getresponse()
            if response.status == 401:
                raise Refused(f"the daemon requires the token from its admin.token_file: set {TOKEN_VARIABLE} to it")
            if response.status >= 400:
                raise self._refusal(response.read().decode(errors="replace"))
            yield response
        except TimeoutError:
            raise self._unreachable(f"no answer within {self.timeout:g} s") from None
        except PermissionError:
            raise self._unreachable("permission denied; run as root, or as a member of the socket's group") from None
        except OSError as error:
            raise self._unreachable(f"{error.strerror or error}; is it running?") from None
        except http.client.HTTPException:
            raise self._unreachable(_NOT_ADMIN_API) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.address.startswith("http://"):
            parts = urlsplit(self.address)
            return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self.timeout)
        return _UnixConnection(self.address, self.timeout)

    def _refusal(self, text: str) -> Refused | Unreachable:
        try:
            return Refused(str(json.loads(text)["error"]))
        except (ValueError, KeyError, TypeError):
            return self._unreachable(_NOT_ADMIN_API)

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(f"cannot reach the daemon at {self.address}: {why}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def admin_address(text: str) -> str:
    """Parse the value of ``--admin``, a path or ``http://host:port``. Raises ``argparse.ArgumentTypeError``."""
    if "://" not in text:
        return text.removeprefix("unix:")
    parts = urlsplit(text)
    try:
        good = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:  # not a port number
        good = False
    if not good:
        raise argparse.ArgumentTypeError("expected the path of a Unix socket or http://HOST:PORT")
    return text


def find_daemon(admin: str | None, config: Path | None) -> Client:
    """Return a client of the daemon at ``admin``, else of the one configured by ``config``, else at ``DEFAULT``.

    Raises ``Refused`` if ``config`` has no admin address or cannot be read.
    """
    if admin is None and config is not None:
        admin = configured_address(config)
        if admin is None:
            raise Refused(f"{config} has no admin.socket: add one, or give the daemon's address with --admin")
    return Client(admin or DEFAULT, os.environ.get(TOKEN_VARIABLE))


def configured_address(path: Path) -> str | None:
    """Return the admin address in the configuration file ``path``, or None if it has none.

    Only the addresses in its ``[admin]`` table are read: operators may not be allowed to read the private keys that the
    file names. Raises ``Refused`` for a file that cannot be read, or is invalid and names no socket.
    """
    try:
        admin = tomllib.loads(path.read_bytes().decode()).get("admin", {})
        if "socket" in admin:
            return str(path.absolute().parent / admin["socket"])
        listen = parse_address(admin["listen"]) if "listen" in admin else None
        return f"http://{listen}" if listen is not None and listen.port else None
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        found = _SOCKET.search(_admin_part(path.read_text(errors="replace")))
        if found is None:
            raise Refused(f"{path} is invalid: run `balancer check --config {path}`") from None
        print(f"{path} is invalid (balancer check says why); asking at the admin socket it names", file=sys.stderr)
        return str(path.absolute().parent / found[1])


def _admin_part(text: str) -> str:
    """Return the lines of a file that may have the admin socket, whatever is wrong with the others."""
    table = re.search(r"^[ \t]*\[admin\][^\n]*\n((?:(?![ \t]*\[)[^\n]*\n?)*)", text, re.MULTILINE)
    return "\n".join([*re.findall(r"^[ \t]*admin\b[^\n]*", text, re.MULTILINE), table[1] if table else ""])


def _author() -> str:
    name = os.environ.get("SUDO_USER") or os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    return re.sub(r"[^A-Za-z0-9@._+ -]", "_", name)[:64].strip()
