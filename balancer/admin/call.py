"""One request to the admin API, as its handlers see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import trio
from pydantic_core import to_json

from balancer.admin import requests
from balancer.admin.metrics import Metrics
from balancer.admin.server import ApiRequest, ApiResponse
from balancer.admin.services import Services
from balancer.admin.views import Views
from balancer.config.plain import token_settings
from balancer.config.scalars import no_such
from balancer.config.section import Section
from balancer.control.pool_state import PoolState
from balancer.errors import ProxyError, Refused
from balancer.http.token import from_operator

T = TypeVar("T", bound=Section)

_DIGEST = re.compile(r"digest:([0-9a-f]{16})")


class ApiError(Exception):
    """A request that is answered with ``status`` and a message."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True)
class Call:
    """A request with its path parameters, who sent it, and the state it is about."""

    services: Services
    views: Views
    metrics: Metrics
    nursery: trio.Nursery
    """For work that goes on after the answer."""
    request: ApiRequest
    args: Mapping[str, str]
    who: str
    local: bool = True
    """Whether it came over the Unix socket."""

    @cached_property
    def pool_state(self) -> PoolState:
        """The state of the pool in the path."""
        try:
            return self.services.pools.get(self.args["pool"])
        except Refused as error:
            raise ApiError(404, str(error)) from None

    @property
    def pool(self) -> str:
        """Name of the pool in the path."""
        return self.pool_state.config.name

    @cached_property
    def backend(self) -> str:
        """The backend in the path."""
        name = self.args["backend"]
        known = sorted(self.pool_state.backends)
        if name not in known:
            raise ApiError(404, no_such("backend", name, known))
        return name

    @property
    def only_at(self) -> str | None:
        """The version of the pool in ``If-Match`` (RFC 9110, 13.1.1)."""
        value = self.request.headers.get("if-match")
        return None if value in (None, "*") else str(value).strip('"')

    def body(self, kind: type[T]) -> T:
        """Return the body, parsed as ``kind``."""
        return requests.parse(kind, self.request.body)

    def number(self, name: str, default: int, most: int, least: int = 0) -> int:
        """Return a whole number from ``least`` to ``most`` from the query."""
        text = self.request.query.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
            raise ApiError(400, f"{name}: expected a whole number from {least} to {most}")
        return int(text)

    def wants(self, content_type: str) -> bool:
        """Return whether the client prefers this type to JSON."""
        return content_type in self.request.headers.get("accept", "")

    def token(self, text: str) -> bytes:
        """Return what the data plane hashes for this token."""
        try:
            token = from_operator(text.encode(), token_settings(self.pool_state.config))
        except ProxyError as error:
            raise ApiError(400, error.reason) from None
        if token is None:
            raise ApiError(400, "the token is empty")
        return token

    def digest(self, text: str, *, prefix: bool = False) -> tuple[str, int | None]:
        """Return the digest of a token or of a prefix with its length; ``digest:HEX`` is one already."""
        if not text.startswith("digest:"):
            token = self.token(text)
            return self.services.pools.digest(token), len(token) if prefix else None
        known = _DIGEST.fullmatch(text)
        if known is None:
            raise ApiError(400, "a digest is 16 hex digits, as in the access log")
        if prefix:
            raise ApiError(
                400, "the digest of a whole token says nothing about its beginning; give the beginning itself"
            )
        return known[1], None

    def answer(self, value: Mapping[str, Any], status: int = 200) -> ApiResponse:
        """Return a JSON response, with the pool's version if the path names a pool."""
        tags = (("ETag", f'"{self.pool_state.version}"'),) if "pool" in self.args else ()
        return ApiResponse(status, as_json(value), "application/json", tags)


def as_json(value: Mapping[str, Any]) -> bytes:
    """Encode as JSON, indented so that people can read it too."""
    return to_json(value, indent=1) + b"\n"


def as_text(text: str) -> ApiResponse:
    """Encode lines of text for people."""
    return ApiResponse(200, text.encode() + b"\n", "text/plain; charset=utf-8")
