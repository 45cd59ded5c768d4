"""Choose the pool of a request or connection by the routes of its listener.

Hosts are compared without case, port and final dot (RFC 3986, 3.2.2; RFC 9110, 4.2.3), paths byte for byte as received:
a path in another spelling (``%61`` for ``a``, ``/x/../a``) is another path, as for haproxy.
"""

from collections.abc import Iterable

from balancer.config.settings import RouteSettings
from balancer.http.head import Request

NAMES_KEPT = 1024
"""Size of the cache of routes by host and server name. It is cleared when full, as clients may send any names."""


class _Entry:
    """One route in bytes; without paths it ``matches_all`` of them."""

    __slots__ = ("matches_all", "paths", "pool", "prefixes")

    def __init__(self, route: RouteSettings) -> None:
        self.pool = route.pool
        self.paths = frozenset(path.encode() for path in route.path)
        self.prefixes = tuple(prefix.encode() for prefix in route.path_prefix)
        self.matches_all = not route.path and not route.path_prefix


class Routes:
    """The routes of a listener, in order."""

    def __init__(self, routes: Iterable[RouteSettings]) -> None:
        self._routes = [(route, _Entry(route)) for route in routes]
        self._by_name: dict[tuple[bytes, str], tuple[_Entry, ...]] = {}

    def of_request(self, request: Request, server_name: str) -> str | None:
        """Return the pool of the first matching route, or None; ``server_name`` is empty if the client sent none."""
        path = b""
        for entry in self._named(request.host, server_name):
            if entry.matches_all:
                return entry.pool
            path = path or request.target.partition(b"?")[0]
            if path in entry.paths or path.startswith(entry.prefixes):
                return entry.pool
        return None

    def of_connection(self, server_name: str) -> str | None:
        """Return the pool of the first route that matches a connection by its server name, or None."""
        return next((entry.pool for entry in self._named(b"", server_name)), None)

    def _named(self, host: bytes, server_name: str) -> tuple[_Entry, ...]:
        """The routes whose hosts and server names match."""
        found = self._by_name.get((host, server_name))
        if found is None:
            if len(self._by_name) >= NAMES_KEPT:
                self._by_name.clear()
            name = host_name(host)
            found = self._by_name[host, server_name] = tuple(
                entry
                for route, entry in self._routes
                if (not route.host or _any(route.host, name)) and (not route.sni or _any(route.sni, server_name))
            )
        return found


def host_name(host: bytes) -> str:
    """Return a ``Host`` without its port and final dot, in lower case."""
    text = host.decode("latin-1").lower()
    name = text[: text.rfind("]") + 1] if text.startswith("[") else text.partition(":")[0]
    return name.rstrip(".")


def _any(patterns: tuple[str, ...], name: str) -> bool:
    """Whether ``name`` equals one of the patterns, or is a subdomain of one that begins with ``*.``."""
    return any(name.endswith(each[1:]) and name != each[1:] if each[0] == "*" else name == each for each in patterns)
