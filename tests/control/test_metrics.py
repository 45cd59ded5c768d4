"""/metrics as Prometheus reads it."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon, eventually
from cryptography import x509
from harness import listener
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from state import config, keeping, operating
from wire import answer, get

from balancer.admin.metrics import Metrics
from balancer.admin.periodic_counts import PeriodicCounts
from balancer.admin.views import Views


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    with AdminDaemon(tmp_path_factory.mktemp("metrics"), hosts) as running:
        yield running


def scrape(daemon):
    """Values by name and labels; what is counted now and then is there, too."""
    text = eventually(lambda: "balancer_ring_share_ratio{" in (text := daemon.ask("GET", "/metrics").text) and text)
    samples = [sample for family in parse(text) for sample in family.samples]
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}


def of_backend(values, name, backend):
    return values[name, ("backend", backend), ("pool", "ide")]


def test_counters_count(daemon, hosts, tunnels):
    home = daemon.place("secret-1")
    with daemon.connect() as client:
        client.send(get("/?token=secret-1"))
        peer = hosts[NAMES.index(home)].accept()
        peer.request()
        peer.send(answer(b"hello", "Connection: close"))
        assert client.response().body == b"hello"
        peer.close()
    tunnels("secret-1")
    values = scrape(daemon)
    assert of_backend(values, "balancer_backend_requests_total", home) >= 1
    assert of_backend(values, "balancer_backend_connects_total", home) >= 1
    assert of_backend(values, "balancer_backend_received_bytes_total", home) >= len(b"hello")
    assert of_backend(values, "balancer_backend_sent_bytes_total", home) > 0
    assert of_backend(values, "balancer_backend_tunnels", home) == 1
    assert of_backend(values, "balancer_backend_users", home) == 1
    assert of_backend(values, "balancer_backend_up", home) == 1
    assert values["balancer_decisions_total", ("pool", "ide"), ("reason", "owner")] >= 1
    assert values["balancer_listener_connections_total", ("listener", "web")] == 2


def test_the_ring_and_what_operators_decided(daemon):
    daemon.ask("POST", "./pins", {"token": "secret-9", "backend": "ide-01"})
    daemon.ask("PUT", "./backends/ide-02/state", {"state": "drain"})
    values = scrape(daemon)
    assert sum(of_backend(values, "balancer_ring_share_ratio", name) for name in NAMES) == pytest.approx(1)
    assert {of_backend(values, "balancer_ring_points", name) for name in NAMES} == {160}
    fingerprint = daemon.get("/v1/pools/ide")["fingerprint"]
    assert values["balancer_ring_info", ("algorithm", "ring"), ("fingerprint", fingerprint), ("pool", "ide")] == 1
    assert values["balancer_pins", ("pool", "ide")] == 1
    assert values["balancer_overlay_version", ("pool", "ide")] == 2
    assert values["balancer_journal_sequence",] == 3
    assert values["balancer_strays", ("pool", "ide")] == 0
    states = {state: values["balancer_backend_state", ("backend", "ide-02"), ("pool", "ide"), ("state", state)]
              for state in ("ready", "drain", "maint")}  # fmt: skip
    assert states == {"ready": 0, "drain": 1, "maint": 0}
    assert of_backend(values, "balancer_backend_takes_new", "ide-02") == 0


def test_requests_by_their_answers_and_how_long_they_took(daemon, hosts, tunnels):
    def counted():
        values = scrape(daemon)
        by_class = {
            status: values["balancer_requests_total", ("pool", "ide"), ("status", status)]
            for status in ("1xx", "2xx", "4xx", "5xx", "none")
        }
        buckets = [v for (name, *rest), v in values.items() if name == "balancer_request_seconds_bucket"]
        assert buckets == sorted(buckets)
        assert buckets[-1] == values["balancer_request_seconds_count", ("pool", "ide")] == sum(by_class.values())
        return by_class, values["balancer_request_seconds_sum", ("pool", "ide")]

    before, sum_before = counted()
    tunnels("secret-1")
    with daemon.connect() as client:
        assert client.ask(get("/no-token")).status == 400
    with daemon.connect() as client:
        client.send(get("/?token=secret-1"))
        peer = hosts[NAMES.index(daemon.place("secret-1"))].accept()
        peer.request()
        peer.send(answer(b"hello", "Connection: close"))
        assert client.response().status == 200
        peer.close()
    with daemon.connect() as client:
        assert client.ask(b"this is no HTTP\r\n\r\n").status == 400
    after, sum_after = counted()
    assert {status: after[status] - before[status] for status in after} == {
        "1xx": 1, "2xx": 1, "4xx": 2, "5xx": 0, "none": 0
    }  # fmt: skip
    assert 0 < sum_after - sum_before < 10


def test_event_loop_lag(daemon):
    """Ten looks a second; the ten of a second that nothing else happened in are on time."""
    values = eventually(lambda: (v := scrape(daemon))["balancer_event_loop_lag_seconds_count",] >= 10 and v)
    assert values["balancer_event_loop_lag_seconds_bucket", ("le", "+Inf")] >= 10
    assert values["balancer_event_loop_lag_seconds_sum",] < 10


async def test_the_cost_of_a_scrape_is_linear_in_backends():
    few, many = await scraping(50), await scraping(500)
    assert many < 30 * few, "quadratic work would take a hundred times as long"


async def scraping(backends):
    """Return the seconds of CPU that a scrape takes; the best of three."""
    settings = config({f"ide-{n}": 1.0 for n in range(backends)}, {"points": 1})
    async with keeping(settings=settings) as controller:
        services = operating(controller)
        metrics = Metrics(
            services, Views(services, PeriodicCounts(services.pools, services.evictions, services.events))
        )
        took = []
        for _ in range(3):
            began = time.process_time()
            text, _ = await metrics.exposition(as_openmetrics=True)
            took.append(time.process_time() - began)
    assert text.count(b"balancer_backend_users{") == backends
    return min(took)


def test_every_metric_has_a_help_text_and_a_proper_name(daemon):
    for family in parse(daemon.ask("GET", "/metrics").text):
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith(("balancer_", "process_"))
        assert all(sample.name.endswith("_total") for sample in family.samples if family.type == "counter")


def test_openmetrics_for_whoever_asks(daemon):
    found = daemon.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert found.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in parse_openmetrics(found.text)} >= {"balancer_build", "balancer_decisions"}
    assert daemon.ask("GET", "/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_certificates(tmp_path, authority):
    certificate = authority.issue("ide.example")
    listeners = [listener("safe", tls={"certificates": [certificate]})]
    with AdminDaemon(tmp_path, listeners=listeners) as daemon:
        with daemon.connect("safe") as client:
            client.send(b"this is no TLS\r\n\r\n")
            assert client.rest() is not None
        values = scrape(daemon)
        expiry = "balancer_tls_certificate_expiry_timestamp_seconds"
        (end,) = [value for (name, *_), value in values.items() if name == expiry]
        read = x509.load_pem_x509_certificate(Path(certificate["cert"]).read_bytes())
        assert end == read.not_valid_after_utc.timestamp()
        assert values["balancer_handshake_failures_total", ("listener", "safe")] == 1


def test_no_backend_is_not_ready(tmp_path):
    """A backend that refuses connections is not tried for a while, and then nobody is there to serve."""
    with AdminDaemon(tmp_path) as daemon:
        assert daemon.ask("GET", "/readyz").status == 200
        with daemon.connect() as client:
            assert client.ask(get()).status in (502, 503)
        found = daemon.ask("GET", "/readyz")
        assert (found.status, found.json["why"]) == (503, "no backend is available")
        assert daemon.ask("GET", "/healthz").status == 200
        values = scrape(daemon)
        assert {of_backend(values, "balancer_backend_up", name) for name in NAMES} == {0}
        assert of_backend(values, "balancer_backend_connect_errors_total", "ide-01") == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool(daemon):
    text = daemon.ask("GET", "/metrics").text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
