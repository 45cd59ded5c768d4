"""A listener at run time: its settings, TLS context, acceptors and counters."""

import ssl
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from balancer.config import model
from balancer.config.pem import Pem
from balancer.http.route import Routes
from balancer.net.connection_limit import ConnectionLimit
from balancer.net.contexts import server_context
from balancer.net.listen import Acceptor
from balancer.pool.pool import Pool

GRACE = 1.0
"""Seconds a client that has connected but not asked anything yet has left for it when the daemon drains: its request is
likely to be on the way, and a client whose first request meets a closed connection may not try again."""


class ListenerState:
    """A listener at run time."""

    __slots__ = (
        "_certificates",
        "acceptors",
        "config",
        "connections",
        "draining",
        "handshake_failures",
        "pool",
        "pools",
        "room",
        "routes",
        "scheme",
        "tls",
    )

    COUNTERS = ("connections", "handshake_failures")
    """What only grows, to be added up over workers."""

    def __init__(
        self, config: model.Listener, pools: Mapping[str, Pool], room: ConnectionLimit, certificates: Sequence[Pem]
    ) -> None:
        self.room = room
        """Its open connections."""
        self.connections = 0
        """Accepted since the start."""
        self.handshake_failures = 0
        """Of them, those whose PROXY header or TLS handshake failed."""
        self.draining = False
        """It accepts nobody new, and its connections end when they can."""
        self.acceptors: dict[str, list[Acceptor]] = {}
        """By the key of their sockets."""
        self.tls: ssl.SSLContext | None = None
        self._certificates: object = None
        self.configure(config, pools, certificates)

    def configure(self, config: model.Listener, pools: Mapping[str, Pool], certificates: Sequence[Pem]) -> None:
        """Be what ``config`` says from the next request or handshake on."""
        self.config = config
        self.pools = pools
        self.pool = pools[config.pool]
        """Where clients go for whom no route says otherwise."""
        self.room.limit = config.max_connections
        self.routes = Routes(config.route) if config.route else None
        self.scheme = b"https" if config.tls else b"http"
        wanted = (config.tls, tuple(certificates))
        if wanted != self._certificates:  # a new context would forget the sessions of the old
            self.tls = server_context(config.tls, certificates) if config.tls else None
            self._certificates = wanted

    def trusts(self, host: str) -> bool:
        """Is this peer believed about who the client is?"""
        if not self.config.trusted:
            return False
        address = ip_address(host)
        return any(address in network for network in self.config.trusted)
