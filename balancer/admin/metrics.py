"""Metrics for Prometheus, collected at each scrape from counters that are plain integers.

Names follow the manual of Prometheus (practices/naming): one prefix, base units, ``_total`` for counters, ratios from 0
to 1. No label says anything about a single user.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
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
from balancer.ipc.supervision import OUTCOMES
from balancer.overlay.states import State
from balancer.shared.compiled import build
from balancer.shared.version import VERSION

_DAEMON_GAUGES = {
    "lame": ("balancer_lame_duck", "1 while the daemon asks for no new clients."),
    "draining": ("balancer_draining", "1 while the daemon is stopping."),
    "connections": ("balancer_connections", "Open client connections."),
    "max_connections": ("balancer_connections_limit", "Limit of open client connections (limits.max_connections)."),
    "starved": (
        "balancer_memory_exhausted",
        "1 while new connections are refused because memory is low (limits.memory).",
    ),
}
_DAEMON_COUNTERS = {
    "crashes": ("balancer_engine_crashes", "Connections closed by an internal error."),
    "log_lines_dropped": ("balancer_log_lines_dropped", "Access log lines that could not be written."),
}
_LISTENER_COUNTERS = {
    "connections": ("balancer_listener_connections", "Connections accepted."),
    "handshake_failures": ("balancer_handshake_failures", "Connections whose PROXY header or TLS handshake failed."),
    "silent": ("balancer_silent_connections", "Connections that ended without a byte, as probes do."),
}
_LISTENER_GAUGES = {
    "open": ("balancer_listener_open_connections", "Open connections."),
}
_BACKEND_GAUGES = {
    "up": ("balancer_backend_up", "1 if the backend is up, by health checks and traffic."),
    "takes_new": ("balancer_backend_takes_new", "1 if the backend takes new users: up, ready, weight above 0."),
    "weight": ("balancer_backend_weight", "Active weight."),
    "users": ("balancer_backend_users", "Users with open tunnels."),
    "tunnels": ("balancer_backend_tunnels", "Open tunnels."),
    "sessions": ("balancer_backend_sessions", "Requests in flight and open tunnels."),
    "queued": ("balancer_backend_queued_requests", "Requests queued for the backend."),
}
_BACKEND_COUNTERS = {
    "requests": ("balancer_backend_requests", "Requests sent."),
    "connects": ("balancer_backend_connects", "Connection attempts."),
    "connect_errors": ("balancer_backend_connect_errors", "Failed connection attempts."),
    "full": ("balancer_backend_full", "Requests that the backend's queue refused or timed out."),
    "response_errors": ("balancer_backend_response_errors", "Requests without a valid response."),
    "bytes_sent": ("balancer_backend_sent_bytes", "Bytes sent to the backend."),
    "bytes_received": ("balancer_backend_received_bytes", "Bytes received from the backend."),
}


class Metrics:
    """Collects when scraped, one family at a time: all at once would block probes for 0.1 s with 500 backends."""

    def __init__(self, services: Services, views: Views) -> None:
        self._services = services
        self._views = views
        self._process = ProcessCollector(registry=None)
        self._labels: Mapping[Labels, str] = {}
        """As rendered at the last scrape."""

    async def exposition(self, *, as_openmetrics: bool) -> tuple[bytes, str]:
        """Return all metrics in the Prometheus or OpenMetrics format, and the content type."""
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
        about = {"version": VERSION, "python": platform.python_version(), "build": build()}
        yield InfoMetricFamily("balancer_build", "Version of the running release, compiled or pure.", value=about)
        for key, (name, text) in _DAEMON_GAUGES.items():
            yield _gauge(name, text, value=gauges[key])
        for key, (name, text) in _DAEMON_COUNTERS.items():
            yield _counter(name, text, value=gauges[key])
        lost = _counter("balancer_log_lines_lost", "Access log lines lost, by the reason.", labels=["reason"])
        for reason, number in gauges["log_lines_lost"].items():
            lost.add(number, reason)
        yield lost
        yield from self._of_processes(gauges)
        yield from self._of_upgrades()
        lag = "Scheduling delay of data plane tasks."
        yield _histogram("balancer_event_loop_lag_seconds", lag, {"": gauges["loop_lag"]})
        refused = _counter("balancer_connections_refused", "Connections closed before being served.", labels=["reason"])
        for reason, number in gauges["refused_connections"].items():
            refused.add(number, reason)
        yield refused
        settled = "Users moved home by `balancer ring settle`."
        yield _counter("balancer_settled_users", settled, value=self._services.evictions.settled)
        sequence = "Number of the last journal entry."
        yield _gauge("balancer_journal_sequence", sequence, value=self._services.pools.seq)
        expiry = _gauge(
            "balancer_tls_certificate_expiry_timestamp_seconds",
            "Expiry of the certificate, Unix time.",
            labels=["listener", "file"],
        )
        for listener, file, end in _certificates(self._services.registry.active):
            expiry.add(end, listener, file)
        yield expiry

    def _of_processes(self, gauges: Mapping[str, Any]) -> Iterator[Metric | Family]:
        starts = _counter("balancer_process_starts", "Starts of a process of the daemon.", labels=["process"])
        for process in gauges["processes"]:
            if process["place"] is not None or process["name"] == "control":
                name = "control" if process["place"] is None else f"worker {process['place']}"
                starts.add(process["starts"], name)
        connections = _gauge("balancer_worker_connections", "Open connections.", labels=["worker"])
        for worker in gauges["workers"]:
            connections.add(worker["connections"], str(worker["worker"]))
        yield from (starts, connections)
        agree = sum(worker["agrees"] for worker in gauges["workers"])
        yield _gauge("balancer_workers", "Workers attached to the control process.", value=len(gauges["workers"]))
        yield _gauge("balancer_workers_agreeing", "Workers that use the active configuration and rings.", value=agree)
        active, last = self._services.registry.active, self._services.reloader.last
        yield _gauge(
            "balancer_config_generation", "Changes of the configuration since the start.", value=active.generation
        )
        yield _gauge(
            "balancer_config_last_change_timestamp_seconds",
            "Time of the last change of the configuration, Unix time.",
            value=active.since,
        )
        yield _gauge(
            "balancer_config_last_reload_success",
            "1 if the last reload succeeded, 0 if it was refused.",
            value=last is None or last.ok,
        )

    def _of_upgrades(self) -> Iterator[Family]:
        upgrader = self._services.upgrader
        previous = upgrader.previous_versions()
        workers, tunnels = (sum(each[what] for each in previous) for what in ("workers", "tunnels"))
        yield _gauge("balancer_previous_versions", "Previous versions that have workers left.", value=len(previous))
        yield _gauge("balancer_previous_workers", "Workers of previous versions.", value=workers)
        yield _gauge("balancer_previous_tunnels", "Open tunnels of previous versions.", value=tunnels)
        upgrades = _counter("balancer_upgrades", "Upgrades, by their outcome.", labels=["outcome"])
        for outcome in OUTCOMES:
            upgrades.add(upgrader.news.counts.get(outcome, 0), outcome.replace(" ", "_"))
        yield upgrades

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
            "balancer_decisions",
            "Requests and connections placed, by the rule that decided.",
            labels=["pool", "reason"],
        )
        places = _counter(
            "balancer_tokens", "Requests by the place where their token was.", labels=["pool", "token_from"]
        )
        cookies = _counter(
            "balancer_remember_cookies",
            "Cookies that remember users: set, or of no use because they were not ours, too long or contradictory.",
            labels=["pool", "outcome"],
        )
        pins = _gauge("balancer_pins", "Pins.", labels=["pool"])
        versions = _gauge("balancer_overlay_version", "Changes by operators.", labels=["pool"])
        panic = _gauge(
            "balancer_pool_panic", "1 while health is ignored because too few backends are healthy.", labels=["pool"]
        )
        healthy = _gauge("balancer_pool_healthy_ratio", "Healthy share of the pool's weight.", labels=["pool"])
        strays = _gauge("balancer_strays", "Connected users on another backend than the ring says.", labels=["pool"])
        requests = _counter("balancer_requests", "Requests by status class.", labels=["pool", "status"])
        retries = _counter("balancer_retries", "Retries.", labels=["pool"])
        given_up = _counter(
            "balancer_retries_given_up",
            "Requests that failed because a limit allowed no retry, by limit.",
            labels=["pool", "limit"],
        )
        metered = _counter("balancer_requests_refused", "Requests refused by limits.token_rate.", labels=["pool"])
        for name, pool_state in self._services.pools.states.items():
            retries.add(pool_state.counts.retries, name)
            for limit, count in pool_state.counts.given_up.items():
                given_up.add(count, name, limit)
            metered.add(pool_state.counts.refused, name)
            for status, count in pool_state.counts.traffic.by_class().items():
                requests.add(count, name, status)
            for reason, count in pool_state.counts.decisions.items():
                decisions.add(count, name, reason)
            for place, count in pool_state.counts.places.items():
                places.add(count, name, place)
            for outcome, count in pool_state.counts.cookies.items():
                cookies.add(count, name, outcome)
            pins.add(len(pool_state.overlay.pins), name)
            panic.add(pool_state.panic, name)
            healthy.add(pool_state.healthy, name)
            versions.add(pool_state.overlay.version, name)
            if name in self._views.scan.strays:
                strays.add(self._views.scan.strays[name], name)
        yield from (requests, retries, given_up, metered, decisions, places, cookies)
        yield from (pins, versions, panic, healthy, strays)
        took = "Time from the first byte of a request to the last byte of the response, or to a tunnel's 101."
        seconds = {
            name: pool_state.counts.traffic.seconds.plain() for name, pool_state in self._services.pools.states.items()
        }
        yield _histogram("balancer_request_seconds", took, seconds, ["pool"])

    def _of_rings(self) -> Iterator[Metric | Family]:
        info = InfoMetricFamily("balancer_ring", "The active ring.", labels=["pool"])
        shares = _gauge(
            "balancer_ring_share_ratio", "Share of all tokens that the backend owns.", labels=["pool", "backend"]
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
        states = _gauge("balancer_backend_state", "1 for the current admin state.", labels=[*labels, "state"])
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
        checks = _counter("balancer_health_checks", "Health checks.", labels=[*labels, "result"])
        seconds = _gauge("balancer_health_check_seconds", "Duration of the last health check.", labels=labels)
        changes = _counter("balancer_health_changes", "Changes between up and down.", labels=labels)
        ejected = _gauge(
            "balancer_backend_ejected", "1 while ejected, for failing traffic or for flapping.", labels=labels
        )
        ejections = _counter(
            "balancer_ejections",
            "Ejections for failing traffic: ejected, dry_run, or prevented by the limit.",
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
    """Yield listener, file and expiry of every certificate."""
    for listener in active.config.listener:
        files = listener.tls.certificates if listener.tls else ()
        for certificate, pem in zip(files, active.files.certificates.get(listener.name, ()), strict=True):
            yield listener.name, str(certificate.cert), describe_pem(certificate.cert, pem.cert).not_after


def _gauge(name: str, text: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return _family(Family("gauge", name, text, labels), value)


def _counter(name: str, text: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return _family(Family("counter", name, text, labels), value)


def _family(family: Family, value: float | None) -> Family:
    """Return a family; ``value`` is its only sample, if given."""
    if value is not None:
        family.add(value)
    return family


def _histogram(name: str, text: str, values: Mapping[str, Any], labels: Sequence[str] = ()) -> Metric:
    """Return a histogram family; ``values`` are histograms by the value of its only label."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for label, value in values.items():
        buckets = [(bound, float(count)) for bound, count in value["buckets"].items()]
        family.add_metric([label] if labels else [], buckets, value["sum"])
    return family
