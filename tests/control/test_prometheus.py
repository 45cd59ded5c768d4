"""Alert rules, the dashboard, and a real Prometheus that scrapes the daemon and knows every metric they ask for."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from admin_rig import ADMIN, NAMES, AdminDaemon, eventually
from harness import listener
from wire import PATIENCE, end_with_parent, free_port

HERE = Path(__file__).parent
CONF = HERE.parents[1] / "conf"
RULES = (CONF / "alerts.yml").read_text()
DASHBOARD = json.loads((CONF / "grafana.json").read_text())
TESTS = ("alerts.test.yml", "alerts_slow.test.yml")
METRIC = re.compile(r"\b(?:balancer|process)_[a-z_]+\b")
GIVEN = {"$__rate_interval": "1m", "$__interval": "1m", "$instance": ".*", "$pool": ".*"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def dashboard_queries():
    """What the panels and the annotations ask for, with variables as Grafana fills them in."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    for name, value in GIVEN.items():
        asked = [each.replace(name, value) for each in asked]
    return asked


def rule_queries():
    found = re.findall(r"expr: (?:\|\n((?: {10}.+\n)+)|(.+)\n)", RULES)
    assert len(found) == RULES.count("- alert:")
    return [block or line for block, line in found]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, authority, hosts):
    """With all that there are metrics for."""
    listeners = [listener(), listener("safe", tls={"certificates": [authority.issue("ide.example")]})]
    admin = {"listen": "127.0.0.1:0", "socket": str((folder := tmp_path_factory.mktemp("prometheus")) / "admin.sock")}
    health = {"health": {"type": "tcp", "interval": "1h"}}
    ends = []
    with AdminDaemon(folder, hosts, admin=admin, listeners=listeners, pool_keys=health) as running:
        for host in hosts:  # what has probed it
            host.accept().close()
        running.open_tunnel(hosts, "secret-1", ends)
        eventually(lambda: "balancer_ring_share_ratio{" in running.ask("GET", "/metrics").text)
        yield running
        for end in ends:
            end.close()


PLAIN = {
    "balancer_backend_connects_total": "traffic",
    "balancer_backend_requests_total": "traffic",
    "balancer_backend_sessions": "traffic",
    "balancer_backend_weight": "a setting",
    "balancer_backend_cut_timestamp_seconds": "a setting",
    "balancer_build_info": "what is running",
    "balancer_config_generation": "how often it was reloaded",
    "balancer_config_last_change_timestamp_seconds": "when it was reloaded",
    "balancer_draining": "an operator has stopped it",
    "balancer_health_check_seconds": "what a probe took",
    "balancer_health_checks_total": "changes of health say more",
    "balancer_journal_sequence": "counts changes of operators",
    "balancer_listener_connections_total": "traffic",
    "balancer_listener_open_connections": "traffic",
    "balancer_pins": "a setting",
    "balancer_previous_workers": "their tunnels say more",
    "balancer_ring_points": "a setting",
    "balancer_silent_connections_total": "probes of others",
    "balancer_settled_users_total": "an operator has moved them",
    "balancer_remember_cookies_total": "traffic",
    "balancer_tokens_total": "traffic",
    "balancer_worker_connections": "traffic",
}
"""Metrics in no rule and no panel: none of them says that something is wrong."""


def test_every_metric_that_says_that_something_is_wrong_is_looked_at(daemon):
    asked = " ".join([*rule_queries(), *dashboard_queries()])
    names = re.findall(r"^# TYPE (balancer_\w+) ", daemon.ask("GET", "/metrics").text, re.MULTILINE)
    assert len(names) > 40
    unseen = {name for name in names if name not in asked}
    assert unseen - PLAIN.keys() == set(), "give it a rule in conf/alerts.yml or a panel in conf/grafana.json"
    assert PLAIN.keys() - unseen == set(), "no exception is needed any more"


@needs_promtool
def test_rules_are_quiet_and_loud_when_they_should_be(tmp_path):
    for path in (CONF / "alerts.yml", *(HERE / name for name in TESTS)):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", *TESTS]):
        done = subprocess.run(["promtool", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_seen_to_fire():
    fires = "".join((HERE / name).read_text() for name in TESTS)
    for name in re.findall(r"- alert: (\w+)", RULES):
        assert f'alertname="{name}"' in fires


@pytest.mark.parametrize("queries", [rule_queries, dashboard_queries])
def test_every_metric_that_is_asked_for_is_there(daemon, queries):
    samples = {line.partition("{")[0].partition(" ")[0] for line in daemon.ask("GET", "/metrics").text.splitlines()}
    missing = {name for query in queries() for name in METRIC.findall(query)} - samples
    assert not missing


def test_panels_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


class Prometheus:
    """The real one, scraping ``target`` each second, with the rules."""

    def __init__(self, folder, target):
        self.address = f"127.0.0.1:{free_port()}"
        (folder / "alerts.yml").write_text(RULES)
        scrape = f'{{job_name: balancer, scrape_interval: 1s, static_configs: [{{targets: ["{target}"]}}]}}'
        (folder / "prometheus.yml").write_text(f"rule_files: [alerts.yml]\nscrape_configs: [{scrape}]\n")
        self.log = open(folder / "log", "w+")  # noqa: SIM115  # open as long as this is
        self.process = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             f"--web.listen-address={self.address}"],
            cwd=folder, stderr=self.log, stdout=self.log, preexec_fn=end_with_parent,
        )  # fmt: skip

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def ask(self, path, **query):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:  # it has not started yet
                    return {}
                raise AssertionError(f"{query}: {error.read().decode()}") from None
        except OSError:  # it has not started yet
            assert self.process.poll() is None, Path(self.log.name).read_text()
            return {}


@pytest.mark.site
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus(daemon, tmp_path):
    prometheus = Prometheus(tmp_path, ADMIN.search(str(daemon.stderr))[1])
    try:
        (target,) = eventually(
            lambda: [each for each in prometheus.ask("targets").get("activeTargets", []) if each["health"] != "unknown"]
        )
        assert (target["health"], target["lastError"]) == ("up", "")
        found = eventually(lambda: prometheus.ask("query", query="balancer_backend_up").get("result"))
        assert {(each["metric"]["backend"], each["value"][1]) for each in found} == {(name, "1") for name in NAMES}
        for query in (*rule_queries(), *dashboard_queries()):
            prometheus.ask("query", query=query)
        groups = prometheus.ask("rules")["groups"]
        assert sum(len(group["rules"]) for group in groups) == RULES.count("- alert:")
        about = {each["metric"]: each for each in prometheus.ask("targets/metadata", match_target="{}")}
        assert about["balancer_request_seconds"]["type"] == "histogram"
        assert all(each["help"] and each["type"] != "unknown" for each in about.values())
    finally:
        prometheus.close()
