"""A daemon that asks for no new clients goes on as before, and says so to the balancer in front of it."""

import contextlib
import os
import signal
import time
from contextlib import closing

import pytest
from admin_rig import NAMES, AdminDaemon
from process_rig import Tunnel, command, happened, served
from wire import Backend, eventually, free_port


@pytest.fixture
def hosts():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(closing(Backend())) for _ in NAMES]


def ready(daemon, query=""):
    """The status of /readyz, and what it asks for."""
    with contextlib.suppress(OSError):  # control is being started
        answer = daemon.ask("GET", f"/readyz{query}")
        assert answer.json["asks_for"] == answer.headers["Balancer-Health"]
        return answer.status, answer.headers["Balancer-Health"]


def test_a_lame_duck_serves_on(tmp_path, hosts):
    with AdminDaemon(tmp_path, hosts) as daemon, closing(Tunnel(daemon, hosts, "secret-1")) as tunnel:
        assert ready(daemon) == (200, None)
        out, code = command(daemon, "drain")
        assert (code, "Balancer-Health: drain" in out) == (0, True)
        assert ready(daemon) == (200, "drain")
        served(daemon, hosts)
        assert tunnel.alive()
        assert "asks for no new clients; to take them again: balancer drain --cancel" in command(daemon, "status")[0]
        happened(daemon, "the daemon asks for no new clients, by uid")
        os.kill(next(each["pid"] for each in daemon.get("/v1/status")["processes"]), signal.SIGKILL)
        daemon.stderr.wait_for(lambda line: "control restarted" in line)
        eventually(lambda: ready(daemon) == (200, "drain"))
        assert command(daemon, "drain", "--cancel")[1] == 0
        assert ready(daemon) == (200, None)
        assert tunnel.alive()


def test_one_pool_of_several(tmp_path, hosts):
    down = {"type": "tcp", "interval": "100ms", "fall": 1, "rise": 1}
    with AdminDaemon(tmp_path, ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"), others=("other",)) as daemon:
        daemon.configure(pool=[{**daemon._config["pool"][0], "health": down}, daemon._config["pool"][1]])
        assert daemon.ask("POST", "/v1/reload", {}).status == 200
        eventually(lambda: daemon.ask("GET", "/readyz?pool=ide").status == 503)
        assert daemon.ask("GET", "/readyz?pool=ide").json["why"] == "no backend is available in pool ide"
        assert daemon.ask("GET", "/readyz?pool=other").status == 200
        assert daemon.ask("GET", "/readyz").status == 200
        answer = daemon.ask("GET", "/readyz?pool=none")
        assert (answer.status, answer.error) == (404, 'there is no pool "none"; existing pools: ide, other')


def test_a_pool_that_is_half_lost_asks_for_fewer_users_and_gets_them(tmp_path, hosts):
    down = {"type": "tcp", "interval": "100ms", "fall": 1, "rise": 1}
    alive, *_ = hosts
    admin = f"127.0.0.1:{free_port()}"
    listens = {"admin": {"socket": str(tmp_path / "admin.sock"), "listen": admin}}
    with AdminDaemon(tmp_path, [alive, "127.0.0.1:2", "127.0.0.1:3"], **listens) as daemon:
        daemon.configure(pool=[{**daemon._config["pool"][0], "health": down}])
        assert daemon.ask("POST", "/v1/reload", {}).status == 200
        eventually(lambda: ready(daemon, "?pool=ide") == (200, "degraded; weight=33%"))
        assert ready(daemon) == (200, None)
        (tmp_path / "above").mkdir()
        with AdminDaemon(tmp_path / "above", [f"127.0.0.1:{daemon.ports['web'][0]}", *hosts[1:]]) as above:
            pool = above._config["pool"][0]
            region, *others = pool["backend"]
            members = [{**region, "check_address": admin}, *({**each, "check": False} for each in others)]
            health = {"type": "http", "path": "/readyz?pool=ide", "interval": "100ms"}
            above.configure(pool=[{**pool, "tier": True, "health": health, "backend": members}])
            assert above.ask("POST", "/v1/reload", {}).status == 200
            eventually(lambda: (above.backend("ide-01")["health"] or {}).get("percent") == 33)
            eventually(lambda: above.get("./ring")["shares"]["ide-01"] < 0.25)
            warning = "backend ide-01 places tokens by the hash and seed of pool ide"
            assert warning in command(above, "status")[0]
            seeded = {**above._config["pool"][0], "ring": {"hash": "blake2b", "seed": "0123456789abcdef"}}
            above.configure(pool=[seeded])
            assert above.ask("POST", "/v1/reload", {}).status == 200
            assert warning not in command(above, "status")[0]
        daemon.configure(pool=[{**daemon._config["pool"][0], "degraded_below": 0.0}])
        assert daemon.ask("POST", "/v1/reload", {}).status == 200
        assert ready(daemon, "?pool=ide") == (200, None)


def test_sigterm_is_lame_first(tmp_path, hosts):
    timeouts = {"lame": "2s", "drain": "30s", "close_spread": "1s"}
    with AdminDaemon(tmp_path, hosts, timeouts=timeouts) as daemon:
        with closing(Tunnel(daemon, hosts, "secret-1")) as tunnel:
            began = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            eventually(lambda: ready(daemon) == (200, "drain"))
            assert "it stops accepting at 20" in command(daemon, "status")[0]
            assert command(daemon, "drain", "--cancel") == ("the daemon is stopping\n", 1)
            served(daemon, hosts, "secret-2")
            eventually(lambda: ready(daemon)[0] == 503)
            assert time.monotonic() - began >= 1.9
            assert "those left are closed at 20" in command(daemon, "status")[0]
            assert daemon.get("/v1/status")["closes_at"] == pytest.approx(time.time() + 30, abs=10)
            assert tunnel.alive()
        assert daemon.process.wait(20) == 0
    assert str(daemon.stderr).splitlines()[-1].endswith("the daemon has ended: SIGTERM")


def test_a_second_signal_ends_it_also_while_it_is_lame(tmp_path, hosts):
    lame = AdminDaemon(tmp_path, hosts, timeouts={"lame": "1h"})
    with lame as daemon, closing(Tunnel(daemon, hosts, "secret-1")):
        daemon.process.send_signal(signal.SIGTERM)
        eventually(lambda: ready(daemon) == (200, "drain"))
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(20) == 0
    assert str(daemon.stderr).splitlines()[-1].endswith("the daemon has ended: SIGTERM, and a second signal")


def test_a_start_that_is_refused_says_so_last(tmp_path):
    daemon = AdminDaemon(tmp_path, state_dir="/proc/nowhere", keep=False)
    assert daemon.process.wait(20) == 1
    daemon.__exit__()
    assert "the daemon has ended: control refused to start (exit status 1)" in str(daemon.stderr).splitlines()[-1]
