"""Drains say when they cut, and whom: the answer, status, the list, the metric; and the daemon's own stop is spread."""

import contextlib
import re
import signal
import time
from contextlib import closing

import pytest
from admin_rig import NAMES, AdminDaemon
from process_rig import command, happened
from scrape import families
from wire import Backend, eventually

SPREAD = 3.0


@pytest.fixture
def hosts():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(closing(Backend())) for _ in NAMES]


@contextlib.contextmanager
def serving(folder, hosts, count=3, tabs=2, workers=1, drain="1h", **pool_keys):
    """A daemon with tunnels of ``count`` users on ide-01, each with ``tabs``; the clients' ends by user."""
    timeouts = {"drain": drain, "close_spread": f"{SPREAD:g}s"}
    with AdminDaemon(folder, hosts, pool_keys=pool_keys, timeouts=timeouts, workers=workers) as daemon:
        tokens = (f"secret-{n}" for n in range(9999))
        mine = (token for token in tokens if daemon.place(token) == "ide-01")
        users, ends = {}, []
        for token in (next(mine) for _ in range(count)):
            users[token] = []
            for _ in range(tabs):
                daemon.open_tunnel(hosts, token, ends)
                users[token].append(ends[-2])
        try:
            yield daemon, users
        finally:
            for end in ends:
                end.close()


def metric_of(daemon, name):
    return [sample.value for family in families(daemon.socket) for sample in family.samples if sample.name == name]


def test_the_default_and_never(tmp_path, hosts):
    with serving(tmp_path, hosts, 1, drain="10m") as (daemon, _):
        out, code = command(daemon, "backend", "drain", "ide-01", "--dry-run")
        assert code == 0
        assert "1 user connected" in out
        assert "(in 10m) will be closed" in out
        assert "digest:" in out
        assert "nothing was changed" in out
        assert daemon.backend("ide-01")["state"] == "ready"
        out, _ = command(daemon, "backend", "drain", "ide-01")
        assert "1 user with 2 tunnels still connected" in out
        assert "(in 10m) will be closed" in out
        facts = daemon.backend("ide-01")
        assert facts["cut_at"] == pytest.approx(time.time() + 600, abs=30)
        assert metric_of(daemon, "balancer_backend_cut_timestamp_seconds") == [facts["cut_at"]]
        status, _ = command(daemon, "status")
        assert "backend ide-01 drains in pool ide: 1 user with 2 tunnels are left, until 20" in status
        assert re.search(r" in (10|9)m", command(daemon, "backend", "list")[0])
        out, _ = command(daemon, "backend", "maint", "ide-01", "--cut-after", "never")
        assert "stay open for as long as their users want" in out
        assert daemon.backend("ide-01")["cut_at"] is None
        assert metric_of(daemon, "balancer_backend_cut_timestamp_seconds") == []
        assert (
            "ide-01 is in maint in pool ide: 1 user with 2 tunnels are left, and may stay"
            in command(daemon, "status")[0]
        )
        happened(daemon, "tunnels left are closed after 10m", "tunnels left are closed never")


def test_the_pools_own_default(tmp_path, hosts):
    with serving(tmp_path, hosts, 1) as (daemon, _):
        daemon.configure(pool=[{**daemon._config["pool"][0], "drain": "never"}])
        assert daemon.ask("POST", "/v1/reload", {}).status == 200
        daemon.ask("PUT", "./backends/ide-01/state", {"state": "drain"})
        assert daemon.backend("ide-01")["cut_at"] is None
        answer = daemon.ask("PUT", "./backends/ide-02/state", {"state": "ready", "cut_after": 5})
        assert (answer.status, "ready backend keeps its tunnels" in answer.error) == (400, True)


def test_a_short_drain_cuts_and_says_so(tmp_path, hosts):
    with serving(tmp_path, hosts, 1) as (daemon, users):
        command(daemon, "backend", "drain", "ide-01", "--cut-after", "200ms")
        for tabs in users.values():
            for tab in tabs:
                assert tab.rest()[:1] == b"\x88"
        happened(daemon, "the drain of ide-01 is over: closing the tunnels of 1 users")


def test_a_removed_host_is_left_in_the_same_way(tmp_path, hosts):
    with serving(tmp_path, hosts, 1, drain="10m") as (daemon, users):
        pool = daemon._config["pool"][0]
        rest = {**pool, "backend": pool["backend"][1:], "drain": "300ms"}
        daemon.configure(pool=[rest])
        dry, _ = command(daemon, "reload", "--dry-run")
        assert "backend ide-01 of pool ide: 1 users with 2 tunnels are left on it; those still open" in dry
        assert command(daemon, "reload")[1] == 0
        for tabs in users.values():
            for tab in tabs:
                assert tab.rest()[:1] == b"\x88"
        eventually(lambda: len(daemon.get("/v1/pools/ide/backends")["backends"]) == len(NAMES) - 1)


def test_the_daemons_stop_is_spread_with_users_whole(tmp_path, hosts):
    with serving(tmp_path, hosts, 12, workers=2, drain="100ms") as (daemon, users):
        tabs = {tab: token for token, mine in users.items() for tab in mine}
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        closed = {}
        while len(closed) < len(tabs):
            for tab in tabs.keys() - closed.keys():
                tab.sock.settimeout(0.005)
                with contextlib.suppress(TimeoutError):
                    assert tab.sock.recv(1) == b"\x88"
                    closed[tab] = time.monotonic() - began
        for mine in users.values():
            assert abs(closed[mine[0]] - closed[mine[1]]) < SPREAD / 3
        assert max(closed.values()) - min(closed.values()) > SPREAD / 3
        daemon.process.wait(20)
