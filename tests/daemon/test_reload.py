"""Reload: everything in the file changes live and cuts nobody off, as a whole or not at all."""

import contextlib
import copy
import http.client
import json
import re
import shutil
import signal
import socket
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon, ask
from authority import Authority
from harness import listener, pool, toml
from process_rig import Tunnel, command, happened, served
from scrape import metric
from wire import PATIENCE, Backend, Peer, eventually, get, nobody


def free_port():
    with nobody() as address:
        return int(address.rpartition(":")[2])


class Reloading(AdminDaemon):
    """``base`` is its configuration at the start; ``reload`` activates another, through the admin API."""

    def __init__(self, folder, hosts):
        self.port = free_port()
        self.authority = Authority(folder)
        super().__init__(
            folder,
            hosts,
            admin={"socket": str(folder / "admin.sock"), "listen": "127.0.0.1:0"},
            listeners=[listener(bind=[f"127.0.0.1:{self.port}"])],
            timeouts={"drain": "1s", "close_spread": "100ms"},
        )
        self.base = tomllib.loads(Path(self.config).read_text())

    def write(self, change=None):
        config = copy.deepcopy(self.base)
        if change is not None:
            change(config)
        Path(self.config).write_text("".join(f"{key} = {toml(value)}\n" for key, value in config.items()))

    def reload(self, change=None, **body):
        """What changes, as text."""
        self.write(change)
        answer = self.ask("POST", "/v1/reload", body)
        assert answer.status == 200, answer.text
        return [each["text"] for each in answer.json["changes"]]

    def refused(self, change):
        """Why it is."""
        self.write(change)
        before = self.get("/v1/config")
        answer = self.ask("POST", "/v1/reload", {})
        assert answer.status == 409, answer.text
        assert self.get("/v1/config") == before
        self.shows_refusal(answer.error)
        return answer.error

    def shows_refusal(self, why):
        last = self.get("/v1/status")["last_reload"]
        assert not last["ok"]
        assert last["problems"][0] in why
        assert metric(self.socket, "balancer_config_last_reload_success") == 0
        self.stderr.wait_for(lambda line: f"refused, nothing has changed: {last['problems'][0]}" in line)

    def at(self, port):
        """A client at a port that the harness does not know."""
        return Peer(socket.create_connection(("127.0.0.1", port), PATIENCE))

    def secure(self, server_name="ide.example"):
        """A client over TLS, and the number of its certificate."""
        client = self.connect(tls=self.authority.client(), server_name=server_name)
        return client, client.sock.getpeercert()["serialNumber"]

    def serial(self):
        """The number of the certificate that it shows."""
        client, serial = self.secure()
        client.close()
        return serial


@pytest.fixture(scope="module")
def hosts():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(closing(Backend())) for _ in NAMES]


@pytest.fixture(scope="module")
def running(tmp_path_factory, hosts):
    folder = tmp_path_factory.mktemp("reload")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, pytest.MonkeyPatch.context() as patch:
        notices.bind(str(folder / "notify"))
        notices.settimeout(PATIENCE)
        patch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        with Reloading(folder, hosts) as daemon:
            daemon.notices = notices
            yield daemon


@pytest.fixture
def daemon(running, hosts):
    """As at the start, again after each test."""
    yield running
    running.reload()
    running.check()
    for host in hosts:
        host.forget()


@pytest.fixture
def tunnel(daemon, hosts):
    with closing(Tunnel(daemon, hosts, "secret-1")) as opened:
        yield opened


def web(config):
    return config["listener"][0]


def ide(config):
    return config["pool"][0]


class TestListeners:
    def test_one_comes_and_goes_and_finishes_what_it_holds(self, daemon, hosts, tunnel):
        port = free_port()
        added = daemon.reload(lambda config: config["listener"].append(listener("new", [f"127.0.0.1:{port}"])))
        assert added[0] == f'listener "new" opens 127.0.0.1:{port}'
        client = Tunnel(daemon, hosts, "secret-2", client=daemon.at(port))
        with closing(client):
            patient = {"timeouts": {"drain": "2s", "close_spread": "1s"}}
            gone = daemon.reload(lambda config: config.update(patient))
            assert gone[0] == f'listener "new" closes 127.0.0.1:{port}; open connections are kept'
            with pytest.raises(ConnectionRefusedError):
                daemon.at(port)
            assert client.alive()
            daemon.reload(lambda config: config.update(patient, limits={"max_connections": 999}))
            assert client.alive(), "whatever else changes meanwhile"
            assert client.client.rest()[:1] == b"\x88", "after timeouts.drain"
        assert tunnel.alive()
        daemon.stderr.wait_for(lambda line: f'"new" accepts no more on 127.0.0.1:{port}' in line)
        happened(
            daemon, f"listener new accepts on 127.0.0.1:{port}", f"listener new accepts no more on 127.0.0.1:{port}"
        )

    def test_another_name_for_the_same_address_closes_nothing(self, daemon, hosts, tunnel):
        def rename(config):
            web(config)["name"] = "other"

        assert not [text for text in daemon.reload(rename) if "opens" in text or "closes" in text]
        served(daemon, hosts)
        assert daemon.get("/v1/status")["listeners"]["other"]["connections"] == 1
        assert tunnel.alive()

    def test_a_port_that_is_taken_changes_nothing(self, daemon, hosts, tunnel):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "{}:{}".format(*taken.getsockname())
            spare = free_port()

            def change(config):
                config["listener"] += [listener("a", [f"127.0.0.1:{spare}"]), listener("b", [address])]
                ide(config)["linger"] = "77s"

            assert f"{address}: Address already in use" in daemon.refused(change)
        with pytest.raises(ConnectionRefusedError):
            daemon.at(spare)
        assert tunnel.alive()
        served(daemon, hosts)

    def test_tls_is_added_and_certificates_change(self, daemon, hosts, tunnel):
        daemon.authority.issue("ide.example")
        files = daemon.authority.issue("ide.example")

        def secure(config):
            web(config)["tls"] = {"certificates": [files]}

        daemon.reload(secure)
        first, serial = daemon.secure()
        with closing(Tunnel(daemon, hosts, "secret-2", client=first)) as secured:
            daemon.authority.issue("ide.example")  # in place of the other; nobody tells the daemon
            daemon.stderr.wait_for(lambda line: "certificates have changed and are active" in line)
            renewed = eventually(lambda: (shown := daemon.serial()) != serial and shown)
            (shown,) = daemon.get("/v1/certificates")["certificates"]
            assert shown["days_left"] > 0
            daemon.authority.issue("ide.example", days=-1)
            daemon.stderr.wait_for(lambda line: "not taken, the last good ones stay" in line and "out of date" in line)
            assert daemon.serial() == renewed
            (warning,) = daemon.ask("POST", "/v1/reload", {"dry_run": True}).json["warnings"]
            assert "expired on" in warning  # who asks for it gets it
            shutil.copy(daemon.authority.file, files["cert"])  # its key is another
            daemon.stderr.wait_for(lambda line: "not taken, the last good ones stay" in line and "not the key" in line)
            assert daemon.serial() == renewed
            assert daemon.ask("POST", "/v1/reload", {}).status == 409
            assert secured.alive()
        assert tunnel.alive()


class TestErrors:
    def test_a_bad_file_changes_nothing_and_that_shows(self, daemon, hosts, tunnel):
        Path(daemon.config).write_text('workers = "many"\nlistener = 3\n')
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: (daemon.get("/v1/reload")["last_reload"] or {}).get("who") == "SIGHUP")
        last = daemon.get("/v1/reload")["last_reload"]
        assert len(last["problems"]) >= 2
        daemon.shows_refusal(last["problems"][0])
        said, code = command(daemon, "reload")
        assert code == 1
        assert "workers" in said
        shown = command(daemon, "status")[0]
        assert "the last reload was refused, the previous configuration is still active" in shown
        assert f"(and {len(last['problems']) - 1} more: balancer reload --dry-run)" in shown
        assert tunnel.alive()
        served(daemon, hosts)

    def test_a_folder_that_cannot_move(self, daemon):
        assert "state_dir cannot change" in daemon.refused(
            lambda config: config.update(state_dir=f"{daemon.folder}/else")
        )

    def test_an_access_log_that_cannot_be_written(self, daemon):
        told = daemon.refused(lambda config: config.update(log={"access": "/nonexistent/access.log"}))
        assert re.search(r"balancer\.toml:\d+: log > access: /nonexistent/access\.log: No such file", told)

    def test_an_admin_address_that_is_taken(self, daemon):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "{}:{}".format(*taken.getsockname())
            assert address in daemon.refused(lambda config: config["admin"].update(listen=address))
        assert daemon.tcp("GET", "/healthz").status == 200

    def test_a_dry_run_tries_to_bind(self, daemon):
        def dry(change):
            daemon.write(change)
            return daemon.ask("POST", "/v1/reload", {"dry_run": True})

        before = daemon.get("/v1/status")["last_reload"]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "{}:{}".format(*taken.getsockname())
            for change in (
                lambda config: config["listener"][0]["bind"].append(address),
                lambda config: config["admin"].update(listen=address),
            ):
                answer = dry(change)
                assert (answer.status, address in answer.text) == (409, True)
        assert dry(lambda config: config["listener"][0]["bind"].append(address)).status == 200
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        answer = dry(lambda config: config.update(state_dir="elsewhere"))
        assert (answer.status, "state_dir cannot change" in answer.text) == (409, True)
        log = Path(daemon.config).parent / "none" / "access.log"
        assert "make the directory" in dry(lambda config: config.update(log={"access": str(log)})).text
        assert daemon.get("/v1/status")["last_reload"] == before


class TestPools:
    def test_a_dry_run_tells_and_changes_nothing(self, daemon):
        def grow(config):
            ide(config)["backend"][0]["weight"] = 3.0

        daemon.write(grow)
        said, code = command(daemon, "reload", "--dry-run")
        assert code == 0
        assert 'backend "ide-01" > weight: 1.0 -> 3.0' in said
        assert "nothing was changed: a dry run" in said
        assert daemon.get("/v1/config")["config"]["pool"][0]["backend"][0]["weight"] == 1
        said, code = command(daemon, "reload")
        assert code == 0
        assert "all of this is active now" in said
        assert daemon.backend("ide-01")["weight"] == 3

    def test_a_changed_ring_leaves_who_is_connected(self, daemon, hosts, tunnel):
        def point(config):
            for backend in ide(config)["backend"]:
                backend["weight"] = 0.1 if backend["name"] == tunnel.host else 100.0

        answer = daemon.reload(point)
        assert len(answer) == 3
        assert served(daemon, hosts, "secret-1") == tunnel.host
        assert tunnel.alive()

    def test_another_algorithm_leaves_who_is_connected_and_counts_them_as_strays(self, daemon, hosts):
        with contextlib.ExitStack() as stack:
            tokens = [f"secret-{n}" for n in range(6)]
            tunnels = {token: stack.enter_context(closing(Tunnel(daemon, hosts, token))) for token in tokens}
            eventually(lambda: daemon.get("/v1/pools/ide")["users"] == len(tunnels))
            daemon.write(lambda config: ide(config).update(ring={"algorithm": "rendezvous"}))
            (plan,) = daemon.ask("POST", "/v1/reload", {}).json["plans"]
            homes = {token: daemon.ask("POST", "./explain", {"token": token}).json["owner"] for token in tunnels}
            astray = [token for token, tunnel in tunnels.items() if tunnel.host != homes[token]]
            assert plan["users"] == {"connected": 6, "moving": len(astray), "tunnels": len(astray)}
            assert daemon.get("./strays")["count"] == len(astray) > 0
            for token, tunnel in tunnels.items():
                assert served(daemon, hosts, token) == tunnel.host
                assert tunnel.alive()

    def test_one_comes_and_goes_with_a_route_to_it(self, daemon, hosts):
        with closing(Backend()) as other:

            def add(config):
                config["pool"].append(pool(other, name="other"))
                web(config)["route"] = [{"path": ["/other/"], "pool": "other"}]

            daemon.reload(add)
            with daemon.connect() as client:
                client.send(get("/other/?token=secret-1"))
                assert other.accept().head().target.startswith("/other/")
            daemon.reload()
            assert daemon.ask("GET", "/v1/pools/other").status == 404
        served(daemon, hosts)

    def test_a_backend_that_moves_gets_no_connection_of_before(self, daemon, hosts):
        with daemon.connect() as client, closing(Backend()) as elsewhere:
            client.send(get("/?token=secret-1"))
            name = daemon.place("secret-1")
            old = hosts[NAMES.index(name)].accept()
            old.request()

            def move(config):
                ide(config)["backend"][NAMES.index(name)]["address"] = str(elsewhere)

            daemon.reload(move)
            old.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # begun before, ended after
            assert client.response().status == 200
            client.send(get("/?token=secret-1"))
            new = elsewhere.accept()
            new.request()
            new.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # or it would be sent to another host
            assert client.response().status == 200
            assert old.ended()

    def test_the_rule_of_the_token(self, daemon, hosts):
        daemon.reload(lambda config: ide(config).update(token={"param": "user"}))
        served(daemon, hosts, param="user")
        with daemon.connect() as client:
            assert client.ask(get("/?token=secret-1")).status == 400

    def test_health_checks_begin_and_end(self, daemon):
        health = {"type": "tcp", "interval": "100ms", "timeout": "100ms", "fall": 1}

        def up():
            return daemon.get("/v1/pools/sick/backends")["backends"][0]["up"]

        with nobody() as address:
            daemon.reload(lambda config: config["pool"].append(pool(address, name="sick")))
            assert up()
            daemon.reload(lambda config: config["pool"].append(pool(address, name="sick", health=health)))
            eventually(lambda: not up())
            daemon.reload(lambda config: config["pool"].append(pool(address, name="sick")))
            eventually(up)


class TestRest:
    def test_more_workers_and_fewer_and_more(self, daemon, hosts, tunnel):
        def workers(number):
            daemon.reload(lambda config: config.update(workers=number))

        workers(2)
        eventually(lambda: len(daemon.get("/v1/status")["workers"]) == 2)
        with contextlib.ExitStack() as stack:
            opened = []
            while len({each["session"][0] for each in daemon.get("/v1/sessions")["sessions"]}) < 2:
                opened.append(stack.enter_context(closing(Tunnel(daemon, hosts, "secret-2"))))
            workers(1)
            assert all(each.alive() for each in opened)
            for _ in range(4):
                served(daemon, hosts)
            workers(2)  # at once, while the other still drains
            for _ in range(8):
                served(daemon, hosts)
        assert tunnel.alive()

    def test_the_access_log_is_another_file(self, daemon, hosts):
        target = daemon.folder / "access.log"
        daemon.reload(lambda config: config.update(log={"access": str(target), "level": "warning"}))
        served(daemon, hosts, "secret-log")
        eventually(lambda: target.read_text().endswith("\n") and json.loads(target.read_text().splitlines()[-1]))

    def test_the_admin_api_is_somewhere_else(self, daemon):
        port = free_port()
        daemon.reload(lambda config: config["admin"].update(listen=f"127.0.0.1:{port}"))
        assert ask(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE), "GET", "/healthz").status == 200
        with pytest.raises(ConnectionRefusedError):
            daemon.tcp("GET", "/healthz")
        daemon.reload(lambda config: config["admin"].update(listen=f"127.0.0.1:{free_port()}"))
        daemon.reload(lambda config: config["admin"].update(listen=f"127.0.0.1:{port}"))

    @pytest.mark.parametrize("how", ["SIGHUP", "the admin API"])
    def test_the_service_manager_is_told(self, daemon, how):
        assert daemon.ask("POST", "/v1/reload", {"dry_run": True}).status == 200  # of which it is not told
        daemon.notices.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                daemon.notices.recv(4096)
        daemon.notices.settimeout(PATIENCE)
        generation = daemon.get("/v1/reload")["generation"]
        daemon.write(lambda config: config.update(timeouts={"drain": "1s", "idle": "33s"}))
        if how == "SIGHUP":
            daemon.process.send_signal(signal.SIGHUP)
        else:
            assert daemon.ask("POST", "/v1/reload", {}).status == 200
        told = []
        while not any("READY=1" in each for each in told) or len(told) < 2:
            told.append(daemon.notices.recv(4096).decode())
            if not told[0].startswith("RELOADING=1\nMONOTONIC_USEC="):
                told.clear()
        assert daemon.get("/v1/reload")["generation"] == generation + 1
        assert daemon.get("/v1/config")["config"]["timeouts"]["idle"] == "33s"
        assert metric(daemon.socket, "balancer_config_last_reload_success") == 1
