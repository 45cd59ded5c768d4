"""The numbers of the daemon for Prometheus, put together at each scrape from counters that are plain integers.

Names follow the manual of Prometheus (practices/naming): one prefix, base units, ``_total`` for counters, ratios from 0
to 1. Nothing about a single user is a label.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version as installed
from typing import Any, get_args

import trio
from prometheus_client import ProcessCollector
from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, Metric

from balancer.admin.exposition import EOF, OPENMETRICS, PLAIN, Family, Labels, Writer
from balancer.admin.services import Services
from balancer.admin.views import Views
from balancer.config.certificates import describe_pem
from balancer.control.active_config import ActiveConfig
from balancer.health.outliers import Outcome
from balancer.overlay.states import State

_DAEMON_GAUGES = {
    "draining": ("balancer_draining", "1 while the daemon is stopping."),
    "connections": ("balancer_connections", "Open client connections."),
    "max_connections": ("balancer_connections_limit", "Client connections held at most (limits.max_connections)."),
    "starved": ("balancer_memory_exhausted", "1 while new connections are refused for want of memory."),
}
_DAEMON_COUNTERS = {
    "crashes": ("balancer_engine_crashes", "Connections ended by a fault of the balancer itself."),
    "log_lines_dropped": ("balancer_log_lines_dropped", "Access log lines that could not be written."),
}
_LISTENER_COUNTERS = {
    "connections": ("balancer_listener_connections", "Connections accepted."),
    "handshake_failures": ("balancer_handshake_failures", "Connections whose PROXY header or TLS handshake failed."),
}
_LISTENER_GAUGES = {
    "open": ("balancer_listener_open_connections", "Open connections."),
}
_BACKEND_GAUGES = {
    "up": ("balancer_backend_up", "1 if the backend can be reached, as far as is known."),
    "takes_new": ("balancer_backend_takes_new", "1 if new users may be placed there: up, ready, with a weight."),
    "weight": ("balancer_backend_weight", "Weight in force."),
    "users": ("balancer_backend_users", "Users with open tunnels."),
    "tunnels": ("balancer_backend_tunnels", "Open tunnels."),
    "sessions": ("balancer_backend_sessions", "Requests in flight and open tunnels."),
    "queued": ("balancer_backend_queued_requests", "Requests that wait for a place at the backend."),
}
_BACKEND_COUNTERS = {
    "requests": ("balancer_backend_requests", "Requests sent."),
    "connects": ("balancer_backend_connects", "Connections tried."),
    "connect_errors": ("balancer_backend_connect_errors", "Connections that failed."),
    "full": ("balancer_backend_full", "Requests that found no place at the backend, nor one in its queue in time."),
    "response_errors": ("balancer_backend_response_errors", "Requests without a proper answer."),
    "bytes_sent": ("balancer_backend_sent_bytes", "Bytes sent to the backend."),
    "bytes_received": ("balancer_backend_received_bytes", "Bytes received from the backend."),
}


class Metrics:
    """Collects when scraped, a family at a time: all of 500 backends at once would hold up the data plane for 0.1 s."""

    def __init__(self, services: Services, views: Views) -> None:
        self._services = services
        self._views = views
        self._process = ProcessCollector(registry=None)
        self._labels: Mapping[Labels, str] = {}
        """As they were written at the last scrape."""

    async def exposition(self, *, as_openmetrics: bool) -> tuple[bytes, str]:
        """All metrics in the text format or the one of OpenMetrics, and its content type."""
        writer, parts = Writer(openmetrics=as_openmetrics, known=self._labels), []
        for family in self._families():
            parts.append(writer.text(family))
            await trio.lowlevel.checkpoint()
        self._labels = writer.labels
        if as_openmetrics:
            return "".join([*parts, EOF]).encode(), OPENMETRICS
        return "".join(parts).encode(), PLAIN

    def _families(self) -> Iterator[Metric | Family]:
        yield from self._of_daemon()
        yield from self._of_listeners()
        yield from self._of_pools()
        yield from self._of_rings()
        yield from self._of_backends()
        yield from self._of_health()
        yield from self._process.collect()

    def _of_daemon(self) -> Iterator[Metric | Family]:
        gauges = self._services.gauges()
        about = {"version": installed("balancer"), "python": platform.python_version()}
        yield InfoMetricFamily("balancer_build", "What is running.", value=about)
        for key, (name, text) in _DAEMON_GAUGES.items():
            yield _gauge(name, text, value=gauges[key])
        for key, (name, text) in _DAEMON_COUNTERS.items():
            yield _counter(name, text, value=gauges[key])
        yield from self._of_processes(gauges)
        lag = "How late the data plane's tasks get their turn."
        yield _histogram("balancer_event_loop_lag_seconds", lag, {"": gauges["loop_lag"]})
        refused = _counter(
            "balancer_connections_refused", "Connections closed before they were served.", labels=["reason"]
        )
        for reason, number in gauges["refused_connections"].items():
            refused.add(number, reason)
        yield refused
        settled = "Users sent home by `balancer ring settle`."
        yield _counter("balancer_settled_users", settled, value=self._services.evictions.settled)
        sequence = "Number of the last entry in the journal."
        yield _gauge("balancer_journal_sequence", sequence, value=self._services.pools.seq)
        expiry = _gauge(
            "balancer_tls_certificate_expiry_timestamp_seconds",
            "When the certificate ends, in Unix time.",
            labels=["listener", "file"],
        )
        for listener, file, end in _certificates(self._services.registry.active):
            expiry.add(end, listener, file)
        yield expiry

    def _of_processes(self, gauges: Mapping[str, Any]) -> Iterator[Metric | Family]:
        starts = _counter("balancer_process_starts", "Times a process of the daemon was started.", labels=["process"])
        for process in gauges["processes"]:
            starts.add(process["starts"], process["name"])
        connections = _gauge("balancer_worker_connections", "Open connections.", labels=["worker"])
        for worker in gauges["workers"]:
            connections.add(worker["connections"], str(worker["worker"]))
        yield from (starts, connections)
        agree = sum(worker["agrees"] for worker in gauges["workers"])
        yield _gauge("balancer_workers", "Workers that serve.", value=len(gauges["workers"]))
        yield _gauge(
            "balancer_workers_agreeing", "Workers that have the configuration and rings in force.", value=agree
        )
        active, last = self._services.registry.active, self._services.reloader.last
        yield _gauge("balancer_config_generation", "How often the configuration has changed.", value=active.generation)
        yield _gauge(
            "balancer_config_last_change_timestamp_seconds", "When it last did, in Unix time.", value=active.since
        )
        yield _gauge(
            "balancer_config_last_reload_success", "0 if the last reload was refused.", value=last is None or last.ok
        )

    def _of_listeners(self) -> Iterator[Metric | Family]:
        listeners = self._services.gauges()["listeners"]
        families: dict[str, Family] = {
            **{key: _gauge(*about, labels=["listener"]) for key, about in _LISTENER_GAUGES.items()},
            **{key: _counter(*about, labels=["listener"]) for key, about in _LISTENER_COUNTERS.items()},
        }
        for key, family in families.items():
            for listener, numbers in listeners.items():
                family.add(numbers[key], listener)
            yield family

    def _of_pools(self) -> Iterator[Metric | Family]:
        decisions = _counter(
            "balancer_decisions", "Requests and connections placed, by the rule that did.", labels=["pool", "reason"]
        )
        pins = _gauge("balancer_pins", "Pins.", labels=["pool"])
        versions = _gauge("balancer_overlay_version", "Changes made by operators.", labels=["pool"])
        panic = _gauge(
            "balancer_pool_panic", "1 while health is ignored, for too little of the pool is healthy.", labels=["pool"]
        )
        healthy = _gauge("balancer_pool_healthy_ratio", "Share of the pool's weight that is healthy.", labels=["pool"])
        strays = _gauge("balancer_strays", "Connected users who belong elsewhere.", labels=["pool"])
        requests = _counter("balancer_requests", "Requests by the class of their answers.", labels=["pool", "status"])
        retries = _counter("balancer_retries", "Tries of requests after their first.", labels=["pool"])
        given_up = _counter(
            "balancer_retries_given_up", "Requests that failed for want of a retry, by limit.", labels=["pool", "limit"]
        )
        metered = _counter(
            "balancer_requests_refused", "Requests of tokens with too many new connections.", labels=["pool"]
        )
        for name, pool_state in self._services.pools.states.items():
            retries.add(pool_state.counts.retries, name)
            for limit, count in pool_state.counts.given_up.items():
                given_up.add(count, name, limit)
            metered.add(pool_state.counts.refused, name)
            for status, count in pool_state.counts.traffic.by_class().items():
                requests.add(count, name, status)
            for reason, count in pool_state.counts.decisions.items():
                decisions.add(count, name, reason)
            pins.add(len(pool_state.overlay.pins), name)
            panic.add(pool_state.panic, name)
            healthy.add(pool_state.healthy, name)
            versions.add(pool_state.overlay.version, name)
            if name in self._views.scan.strays:
                strays.add(self._views.scan.strays[name], name)
        yield from (requests, retries, given_up, metered, decisions, pins, versions, panic, healthy, strays)
        took = "From the first byte of a request to the last of its answer, or to the 101 of a tunnel."
        seconds = {
            name: pool_state.counts.traffic.seconds.plain() for name, pool_state in self._services.pools.states.items()
        }
        yield _histogram("balancer_request_seconds", took, seconds, ["pool"])

    def _of_rings(self) -> Iterator[Metric | Family]:
        info = InfoMetricFamily("balancer_ring", "The ring in force.", labels=["pool"])
        shares = _gauge(
            "balancer_ring_share_ratio", "Share of all tokens the backend owns on the ring.", labels=["pool", "backend"]
        )
        points = _gauge("balancer_ring_points", "Points or slots on the ring.", labels=["pool", "backend"])
        for name, pool_state in self._services.pools.states.items():
            about = {"algorithm": pool_state.config.ring.algorithm, "fingerprint": pool_state.ring.fingerprint}
            info.add_metric([name], about)
            if (facts := self._views.scan.rings.get(name)) is not None:
                for backend, share in facts.shares.items():
                    shares.add(share, name, backend)
                for backend, count in facts.points.items():
                    points.add(count, name, backend)
        yield from (info, shares, points)

    def _of_backends(self) -> Iterator[Metric | Family]:
        labels = ["pool", "backend"]
        families: dict[str, Family] = {
            **{key: _gauge(*about, labels=labels) for key, about in _BACKEND_GAUGES.items()},
            **{key: _counter(*about, labels=labels) for key, about in _BACKEND_COUNTERS.items()},
        }
        states = _gauge("balancer_backend_state", "1 for the admin state it is in.", labels=[*labels, "state"])
        cuts = _gauge(
            "balancer_backend_cut_timestamp_seconds",
            "When the tunnels left on a backend that drains, is in maint or was removed are closed, in Unix time.",
            labels=labels,
        )
        for pool, pool_state in self._services.pools.states.items():
            for facts in self._views.backends(pool_state):
                if facts["cut_at"] is not None:
                    cuts.add(facts["cut_at"], pool, facts["name"])
                for key, family in families.items():
                    family.add(facts[key], pool, facts["name"])
                for state in (*get_args(State), "removed"):
                    states.add(facts["state"] == state, pool, facts["name"], state)
        yield from (*families.values(), states, cuts)

    def _of_health(self) -> Iterator[Metric | Family]:
        labels = ["pool", "backend"]
        healthy = _gauge("balancer_backend_healthy", "1 if the backend passes its health checks.", labels=labels)
        checks = _counter("balancer_health_checks", "Health checks made.", labels=[*labels, "result"])
        seconds = _gauge("balancer_health_check_seconds", "How long the last one took.", labels=labels)
        changes = _counter("balancer_health_changes", "Times it came up or went down.", labels=labels)
        ejected = _gauge(
            "balancer_backend_ejected", "1 while it has to stay out, for its traffic or for flapping.", labels=labels
        )
        ejections = _counter(
            "balancer_ejections",
            "Times its traffic failed, by what became of it: ejected, counted in a dry run, left in by the limit.",
            labels=[*labels, "outcome"],
        )
        for pool, pool_state in self._services.pools.states.items():
            for name, backend in pool_state.backends.items():
                if (health := pool_state.health.get(name)) is not None:
                    healthy.add(not backend.availability.reason, pool, name)
                    checks.add(health.checks.passed, pool, name, "passed")
                    checks.add(health.checks.failed, pool, name, "failed")
                    seconds.add(health.seconds, pool, name)
                    changes.add(health.checks.changes, pool, name)
                    ejected.add(bool(backend.availability.ejected), pool, name)
                    for outcome in get_args(Outcome):
                        ejections.add(health.checks.ejections[outcome], pool, name, outcome)
        yield from (healthy, checks, seconds, changes, ejected, ejections)


def _certificates(active: ActiveConfig) -> Iterator[tuple[str, str, float]]:
    """Listener, file and end of every certificate."""
    for listener in active.config.listener:
        files = listener.tls.certificates if listener.tls else ()
        for certificate, pem in zip(files, active.certificates.get(listener.name, ()), strict=True):
            yield listener.name, str(certificate.cert), describe_pem(certificate.cert, pem.cert).not_after


def _gauge(name: str, text: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return _family(Family("gauge", name, text, labels), value)


def _counter(name: str, text: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return _family(Family("counter", name, text, labels), value)


def _family(family: Family, value: float | None) -> Family:
    """With ``value``, if there is one, as its only sample."""
    if value is not None:
        family.add(value)
    return family


def _histogram(name: str, text: str, values: Mapping[str, Any], labels: Sequence[str] = ()) -> Metric:
    """``values`` are histograms in plain values, by the value of the only label."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        buckets = [(bound, float(count)) for bound, count in value["buckets"].items()]
        family.add_metric([label] if labels else [], buckets, value["sum"])
    return family
