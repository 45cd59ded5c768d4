"""A backend that a reload removes and puts back: its tunnels count all the while, and operators see them."""

import contextlib
import os
import signal
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon
from harness import toml
from process_rig import command, served
from scrape import metric
from wire import Backend, eventually, get

GONE = "ide-03"
LIMIT = 3


@pytest.fixture
def hosts():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(closing(Backend())) for _ in NAMES]


def answers(daemon):
    with contextlib.suppress(OSError, AssertionError):
        return daemon.get("/readyz")["ready"]


class Site:
    """A daemon with tunnels of ``LIMIT`` users on the backend that is going to be removed."""

    def __init__(self, daemon, hosts):
        self.daemon, self.hosts = daemon, hosts
        self.base = tomllib.loads(Path(daemon.config).read_text())
        tokens = (f"secret-{n}" for n in range(999))
        mine = (token for token in tokens if daemon.place(token) == GONE)
        self.tokens = [next(mine) for _ in range(LIMIT + 1)]
        self.ends = []
        for token in self.tokens[:LIMIT]:
            daemon.open_tunnel(hosts, token, self.ends)

    def close(self):
        for end in self.ends:
            end.close()
        self.ends.clear()

    def reload(self, *, without=()):
        config = {**self.base, "pool": [{**pool} for pool in self.base["pool"]]}
        config["pool"][0]["backend"] = [each for each in config["pool"][0]["backend"] if each["name"] not in without]
        self.write(config)

    def write(self, config):
        Path(self.daemon.config).write_text("".join(f"{key} = {toml(value)}\n" for key, value in config.items()))
        answer = self.daemon.ask("POST", "/v1/reload", {})
        assert answer.status == 200, answer.text


@pytest.fixture
def site(tmp_path, hosts):
    keys = {"max_connections": LIMIT, "queue": 0}
    with (
        AdminDaemon(tmp_path, hosts, pool_keys=keys, others=("other",)) as daemon,
        closing(Site(daemon, hosts)) as site,
    ):
        yield site
        daemon.check()


def test_the_limit_counts_what_was_left_on_it(site):
    site.reload(without=(GONE,))
    site.reload()
    assert site.daemon.backend(GONE)["tunnels"] == LIMIT
    with site.daemon.connect() as client:
        assert client.ask(get(f"/?token={site.tokens[-1]}")).status == 503
    site.close()
    eventually(lambda: not site.daemon.backend(GONE)["tunnels"])
    assert served(site.daemon, site.hosts, site.tokens[-1]) == GONE


def test_it_is_shown_until_nothing_is_left(site):
    daemon = site.daemon
    site.reload(without=(GONE,))

    def shown():
        facts = eventually(lambda: (each := daemon.backend(GONE))["state"] == "removed" and each)
        assert (facts["tunnels"], facts["users"], facts["takes_new"]) == (LIMIT, LIMIT, False)
        assert facts["address"] == str(site.hosts[2])
        assert metric(daemon.socket, "balancer_backend_tunnels", pool="ide", backend=GONE) == LIMIT
        status, _ = command(daemon, "status")
        assert f"backend {GONE} was removed from pool ide: {LIMIT} users with {LIMIT} tunnels are left" in status
        listed = daemon.get(f"/v1/sessions?backend={GONE}")
        assert listed["count"] == LIMIT

    shown()
    os.kill(next(each["pid"] for each in daemon.get("/v1/status")["processes"]), signal.SIGKILL)
    daemon.stderr.wait_for(lambda line: "control restarted" in line)
    eventually(lambda: answers(daemon))
    shown()
    site.close()
    eventually(lambda: GONE not in [each["name"] for each in daemon.get("/v1/pools/ide/backends")["backends"]])


def test_a_pool_that_is_removed_and_put_back(site):
    daemon = site.daemon
    only = [pool for pool in site.base["pool"] if pool["name"] == "other"]
    site.write({**site.base, "pool": only, "listener": [{**each, "pool": "other"} for each in site.base["listener"]]})
    status, _ = command(daemon, "status")
    assert f"pool ide was removed: {LIMIT} tunnels are left" in status
    site.write(site.base)
    eventually(lambda: daemon.backend(GONE)["tunnels"] == LIMIT)
    assert daemon.backend(GONE)["users"] == LIMIT
    with daemon.connect() as client:
        assert client.ask(get(f"/?token={site.tokens[-1]}")).status == 503
