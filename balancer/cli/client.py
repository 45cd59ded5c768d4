"""The admin API from the side of the command line: where it is, how to ask it, and what its refusals say."""

import argparse
import http.client
import json
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from balancer.config.model import Admin
from balancer.errors import Refused

DEFAULT = "/run/balancer/admin.sock"
TOKEN_VARIABLE = "BALANCER_ADMIN_TOKEN"
PATIENCE = 60.0
"""Seconds the daemon may take to answer; plans of large rings take some."""
_NOT_OURS = "what answers there is not the balancer's admin API"


class Unreachable(Exception):
    """The daemon does not answer."""


class Client:
    """One daemon. ``address`` is the path of its Unix socket, or ``http://host:port`` with the token in ``token``."""

    patience = PATIENCE

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self._headers = {"Balancer-Author": _author()}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The JSON object of the answer. Raises ``Refused`` with the daemon's words, ``Unreachable`` without any."""
        text = self.text(method, path, body, accept="application/json")
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._unreachable(_NOT_OURS)
        return answer

    def text(self, method: str, path: str, body: object = None, *, accept: str = "text/plain") -> str:
        """The answer as another type than JSON."""
        with self._answer(method, path, body, {"Accept": accept}) as response:
            return response.read().decode(errors="replace")

    def lines(self, path: str, fields: Mapping[str, str]) -> Iterator[str]:
        """The lines of an answer that only the end of the daemon ends, as they come; ``fields`` are sent along."""
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
                raise Refused(f"the daemon wants the token of its admin.token_file: put it into {TOKEN_VARIABLE}")
            if response.status >= 400:
                raise Refused(_error(response.read().decode(errors="replace")))
            yield response
        except TimeoutError:
            raise self._unreachable(f"no answer within {self.patience:g} s") from None
        except PermissionError:
            raise self._unreachable("permission denied; be root, or in the group of that socket") from None
        except OSError as error:
            raise self._unreachable(f"{error.strerror or error}; is it running?") from None
        except http.client.HTTPException:
            raise self._unreachable(_NOT_OURS) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.address.startswith("http://"):
            parts = urlsplit(self.address)
            return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self.patience)
        return _UnixConnection(self.address, self.patience)

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(f"the daemon cannot be reached at {self.address}: {why}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, patience: float) -> None:
        super().__init__("localhost")
        self._path = path
        self._patience = patience

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._patience)
        self.sock.connect(self._path)


def admin_address(text: str) -> str:
    """What ``--admin`` takes: a path or ``http://host:port``."""
    if "://" not in text:
        return text.removeprefix("unix:")
    parts = urlsplit(text)
    try:
        good = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:  # a port that is none
        good = False
    if not good:
        raise argparse.ArgumentTypeError("expected the path of a socket or http://HOST:PORT")
    return text


def reach(admin: str | None, config: Path | None) -> Client:
    """The daemon at ``admin``, else the one that runs with ``config``, else the one at the usual place."""
    if admin is None and config is not None:
        admin = configured(config)
        if admin is None:
            raise Refused(f"{config} names no admin.socket: add one, or say where the daemon is with --admin")
    return Client(admin or DEFAULT, os.environ.get(TOKEN_VARIABLE))


def configured(path: Path) -> str | None:
    """Where the daemon with this configuration is to be reached, if anywhere.

    The rest of the file is not looked at: operators need not be able to read the keys it names.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode())
        admin = Admin.model_validate(document.get("admin", {}), context={"base": path.absolute().parent})
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, ValidationError):
        raise Refused(f"{path} has mistakes: see `balancer check --config {path}`") from None
    if admin.socket is not None:
        return str(admin.socket)
    return f"http://{admin.listen}" if admin.listen is not None and admin.listen.port else None


def _author() -> str:
    name = os.environ.get("SUDO_USER") or os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    return re.sub(r"[^A-Za-z0-9@._+ -]", "_", name)[:64].strip()


def _error(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return _NOT_OURS
