"""A listener at run time: its settings, TLS contexts, acceptors and counters."""

import ssl
from collections.abc import Mapping
from typing import ClassVar, Final

from balancer.config.settings import ListenerSettings
from balancer.http.fields import fields_of
from balancer.http.rules import Rules
from balancer.net.connection_limit import ConnectionLimit
from balancer.net.contexts import ServerContexts
from balancer.net.listen import Acceptor
from balancer.pool.pool import Pool
from balancer.shared.networks import Networks

FIRST_REQUEST_TIMEOUT: Final = 1.0
"""Seconds for which a drain waits for the first request of a client that has connected but sent nothing yet. It is
likely to be on its way, and a client whose first request meets a closed connection may not try again."""


class ListenerState:
    """One per listener; a reload changes it in place."""

    __slots__ = (
        "_contexts",
        "acceptors",
        "config",
        "connection_limit",
        "connections",
        "draining",
        "error_pages",
        "handshake_failures",
        "pool",
        "pools",
        "request_fields",
        "response_fields",
        "rules",
        "scheme",
        "silent",
        "tls",
        "trusted",
    )

    COUNTERS: ClassVar[tuple[str, ...]] = ("connections", "handshake_failures", "silent")
    """What only grows, to be added up over workers."""

    def __init__(
        self,
        config: ListenerSettings,
        pools: Mapping[str, Pool],
        connection_limit: ConnectionLimit,
        contexts: ServerContexts | None,
    ) -> None:
        self.connection_limit = connection_limit
        """Its open connections."""
        self.connections = 0
        """Accepted since the start."""
        self.handshake_failures = 0
        """Of them, those whose PROXY header or TLS handshake failed."""
        self.silent = 0
        """Of them, those that ended without a byte from the client."""
        self.draining = False
        """It accepts no new clients, and its connections end when they can."""
        self.acceptors: dict[str, list[Acceptor]] = {}
        """By the key of their sockets."""
        self.tls: ssl.SSLContext | None = None
        self._contexts: ServerContexts | None = None
        self.configure(config, pools, contexts)

    def configure(self, config: ListenerSettings, pools: Mapping[str, Pool], contexts: ServerContexts | None) -> None:
        """Use these settings from the next request or handshake on; ``contexts`` come from ``prepare_contexts``."""
        self.config = config
        self.pools = pools
        self.pool = pools[config.pool]
        """Where clients go unless a rule says otherwise."""
        self.connection_limit.limit = config.max_connections
        self.rules = Rules(config.rule) if config.rule else None
        self.request_fields = fields_of(config.request_fields)
        self.response_fields = fields_of(config.response_fields)
        self.error_pages = config.error_pages
        self.scheme = b"https" if config.tls else b"http"
        self.trusted = Networks(config.trusted)
        """Peers that are believed about who the client is."""
        self._contexts = contexts
        self.tls = contexts.activate().default if contexts is not None else None

    def prepare_contexts(self, config: ListenerSettings) -> ServerContexts | None:
        """Return the TLS contexts for other settings. Raise ``OSError`` for certificates that cannot be served."""
        return prepare_contexts(config, self._contexts)


def prepare_contexts(config: ListenerSettings, former: ServerContexts | None = None) -> ServerContexts | None:
    """Return the TLS contexts of a listener, those of ``former`` where they are the same; None without TLS."""
    if config.tls is None:
        return None
    if former is not None and former.settings == config.tls:
        return former
    return ServerContexts(config.tls, former)
