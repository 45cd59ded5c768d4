"""One example of everything that one version keeps for another, with every field set: what the golden files hold."""

from pathlib import Path

from balancer.config.contents import NamedFiles
from balancer.config.load import check
from balancer.config.model import Config
from balancer.config.pem import Pem
from balancer.config.settings import BackendTlsSettings, ClientCertificates, ErrorPage
from balancer.control.active_config import ActiveConfig, Remembered
from balancer.control.saved_counters import SavedChecks, SavedCounters, WorkerCounters
from balancer.ipc.supervision import Door, Upgrade
from balancer.upgrade.release import Release
from balancer.upgrade.state import BoardState, ChildState, Generation, Handover, SocketsState, WorkerEntry

PROD = Path(__file__).parents[2] / "conf" / "prod.toml"
COUNTS = {"crashes": 1, "pools": {"ide": {"retries": 2}}}


def handover():
    return Handover(
        release=Release("/opt/balancer/releases/0.3.0", "/opt/balancer/releases/0.3.0/bin/python", False),
        version="0.3.0",
        config="/etc/balancer/balancer.toml",
        manager={"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "30000000"},
        generation=2,
        generations={1: Generation("0.2.9", 1_600_000_000.5), 2: Generation("0.3.0", 1_700_000_000.5)},
        memory=[4, 5],
        boards=[BoardState(6, 1, 0), BoardState(7, 1, 64)],
        sockets=SocketsState({"0.0.0.0:443": [[8], [9]]}, [10], 2, 3),
        workers=[
            WorkerEntry(ChildState("worker 0", 100, 11, 1, "signal SIGKILL"), 0, 1, None, True),
            WorkerEntry(ChildState("worker 1", 101, 12, 2), 1, 2, 0),
        ],
        control=ChildState("control", 102, 13, 1),
        hang=10.0,
        lame=20.0,
        log_level="info",
        log_format="json",
        status="connections: 3, tunnels: 1",
        upgrade=Upgrade(3, "running", "uid 0", "0.3.0", "0.4.0", "/opt/balancer/releases/0.4.0", since=1_700_000_000.5),
        prove=5.0,
        doors=[(Door("/run/balancer/admin.sock", "unix:/run/balancer/admin.sock", 4711), 14)],
        back="it could not take over",
    )


def remembered(config=None, files=None):
    """A configuration as it is active: that of the manual, unless another is given."""
    if config is None:
        report = check(PROD, 0.0)
        config, files = report.config, report.files
    keys, bound = {"web": ("0.0.0.0:443",)}, {"0.0.0.0:443": ("0.0.0.0:443",)}
    active = ActiveConfig(2, 1_700_000_000.5, config, files, keys, bound, 3, "info")
    return Remembered(active, "/var/lib/balancer", 1_600_000_000.5, 12.5, True)


def small():
    """A small configuration, with what is in files that it could name."""
    config = {
        "workers": 2,
        "listener": [{"name": "web", "bind": ["0.0.0.0:443"], "pool": "ide", "rule": [{"path": ["/x"], "deny": 403}]}],
        "pool": [{"name": "ide", "backend": [{"name": "ide-01", "address": "10.0.0.11:4001", "weight": 2.0}]}],
    }
    pem = Pem(b"cert", b"key", ("ide.example",))
    tls = BackendTlsSettings(True, True, b"authority", "name", pem)
    files = NamedFiles(
        certificates={"web": (pem,)},
        clients={"web": ClientCertificates(True, b"authority", b"crl")},
        error_pages={"web": {503: ErrorPage(503, b"Content-Type: text/html\r\n", b"page")}},
        backend_tls={"ide": tls},
        probe_tls={"ide": tls},
        secrets=(b"secret",),
    )
    return remembered(Config.model_validate(config), files)


def counters():
    return SavedCounters(
        workers=[WorkerCounters(0, 100, COUNTS)],
        checks={"ide": {"ide-01": SavedChecks(1, 2, 3, {"ejected": 4}, True)}},
        settled=5,
        removed={"ide": {"ide-09": ("10.0.0.19:4001", 1_700_000_000.5)}},
    )
