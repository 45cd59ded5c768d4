"""Who may do what: the Unix socket by file permission, TCP by token, and nobody by a web page's trick."""

import http.client
import os
import signal
import socket
import stat

import pytest
from admin_rig import AdminDaemon, ask
from harness import of_session
from wire import PATIENCE, free_port

TOKEN = "a-token-for-the-admin-api-of-this-test"
DRAIN = ("PUT", "/v1/pools/ide/backends/ide-01/state", {"state": "drain"})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A daemon with a token, on TCP and a Unix socket."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n")
    admin = {"socket": str(folder / "admin.sock"), "listen": "127.0.0.1:0", "token_file": str(folder / "token")}
    with AdminDaemon(folder, admin=admin) as running:
        yield running


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A daemon without a token: its TCP address only reads."""
    with AdminDaemon(tmp_path_factory.mktemp("reading"), admin={"listen": "127.0.0.1:0"}) as running:
        yield running


def start_fails(daemon):
    """What a daemon says that cannot start."""
    try:
        assert daemon.ended() == 1
        daemon.stderr.join()
        return str(daemon.stderr)
    finally:
        daemon.__exit__(AssertionError)


class TestUnixSocket:
    def test_owner_and_group_and_nobody_else(self, guarded):
        found = os.stat(guarded.socket)
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o660

    def test_the_peer_is_named_by_its_uid_too(self, guarded):
        assert guarded.ask(*DRAIN, Balancer_Author="alice").json["who"] == f"alice (uid {os.getuid()})"
        assert guarded.ask(*DRAIN).json["who"] == f"uid {os.getuid()}"

    def test_an_author_cannot_forge_a_line(self, guarded):
        for author in ("x" * 65, "root (uid 0)", 'a"b'):
            answer = guarded.ask(*DRAIN, Balancer_Author=author)
            assert (answer.status, "balancer-author" in answer.error) == (400, True)

    def test_it_is_removed_at_the_end_and_that_of_a_killed_daemon_replaced(self, tmp_path):
        with AdminDaemon(tmp_path) as killed:
            leader = killed.process.pid
            children = [pid for pid in of_session(leader) if pid != leader]
            os.kill(leader, signal.SIGSTOP)  # nobody is started again; stopped children would go on at its end
            for pid in (*children, leader):
                os.kill(pid, signal.SIGKILL)
            killed.process.wait()
        assert os.path.exists(killed.socket)
        with AdminDaemon(tmp_path) as next_one:
            assert next_one.get("/healthz") == {"ok": True}
        assert not os.path.exists(killed.socket)

    def test_that_of_a_living_daemon_is_refused(self, guarded, tmp_path):
        said = start_fails(AdminDaemon(tmp_path, admin={"socket": guarded.socket}))
        assert "is in use by another daemon" in said
        assert guarded.get("/healthz") == {"ok": True}

    def test_a_file_is_no_socket(self, tmp_path):
        (tmp_path / "admin.sock").write_text("precious")
        assert "is a file, not a socket" in start_fails(AdminDaemon(tmp_path))
        assert (tmp_path / "admin.sock").read_text() == "precious"

    def test_no_folder(self, tmp_path):
        said = start_fails(AdminDaemon(tmp_path, admin={"socket": str(tmp_path / "none" / "admin.sock")}))
        assert "is its folder there and writable?" in said


class TestToken:
    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
    def test_open_to_all(self, guarded, path):
        assert guarded.tcp("GET", path).status == 200

    @pytest.mark.parametrize(
        "given", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer"]
    )
    def test_no_token_or_a_wrong_one(self, guarded, given):
        for method, path in (("GET", "/v1/status"), ("POST", "/v1/trace"), ("GET", "/none")):
            answer = guarded.tcp(method, path, Authorization=given)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="balancer"')
            assert TOKEN not in answer.text

    def test_the_right_one(self, guarded):
        answer = guarded.tcp(*DRAIN, Authorization=f"bearer  {TOKEN}", Balancer_Author="bob")
        assert (answer.status, answer.json["who"]) == (200, "bob (127.0.0.1)")

    def test_other_names_are_fine_where_a_token_is_asked_for(self, guarded):
        answer = guarded.tcp("GET", "/v1/status", Authorization=f"Bearer {TOKEN}", Host="lb-1.example:9600")
        assert answer.status == 200

    def test_it_is_written_nowhere(self, guarded):
        assert TOKEN not in str(guarded.stderr)

    @pytest.mark.parametrize(
        ("content", "said"), [("hunter2\n", "less than 16 characters"), (None, "No such file")], ids=["short", "none"]
    )
    def test_a_bad_file(self, tmp_path, content, said):
        if content is not None:
            (tmp_path / "token").write_text(content)
        found = start_fails(
            AdminDaemon(tmp_path, admin={"listen": "127.0.0.1:0", "token_file": str(tmp_path / "token")})
        )
        assert said in found
        assert "hunter2" not in found


class TestReading:
    def test_everything_can_be_read(self, reading):
        for path in ("/v1/status", "/v1/pools/ide/ring", "/v1/pools/ide/pins", "/metrics"):
            assert reading.tcp("GET", path).status == 200

    def test_nothing_can_be_changed(self, reading):
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            answer = reading.tcp(method, DRAIN[1], DRAIN[2])
            assert (answer.status, "only reads" in answer.error) == (403, True)
        assert all(each["state"] == "ready" for each in reading.tcp("GET", "/v1/pools/ide/backends").json["backends"])

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:9600", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", ""]
    )
    def test_another_name_pointed_here(self, reading, host):
        for path in ("/v1/status", "/metrics"):
            assert reading.tcp("GET", path, Host=host).status == 421

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9600", "127.1.2.3:80"])
    def test_our_own_names(self, reading, host):
        assert reading.tcp("GET", "/v1/status", Host=host).status == 200


def test_an_address_for_health_checks_tells_nothing_else(tmp_path):
    port = free_port()
    with AdminDaemon(tmp_path, admin={"socket": str(tmp_path / "admin.sock"), "listen": f"127.0.0.1:{port}"}) as daemon:
        admin = {"socket": daemon.socket, "health_listen": f"127.0.0.1:{port}"}
        daemon.configure(admin=admin)
        assert daemon.ask("POST", "/v1/reload", {}).status == 200

        def status(method, path):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            return ask(connection, method, path, Host="eu.example").status

        assert [status("GET", path) for path in ("/healthz", "/readyz", "/readyz?pool=ide")] == [200] * 3
        assert [status("GET", path) for path in ("/metrics", "/v1/status", "/v1/openapi.json", "/")] == [421] * 4
        assert status("PUT", "/v1/drain") == 421


def test_an_address_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = AdminDaemon(tmp_path, admin={"socket": str(tmp_path / "admin.sock"), "listen": listen})
        assert f"admin.listen {listen}: Address already in use" in start_fails(daemon)
    assert not (tmp_path / "admin.sock").exists()
