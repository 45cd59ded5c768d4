"""JupyterLab in a real browser, over TLS, behind the daemon: every request of a user is on one host."""

import contextlib
import http.server
import json
import ssl
import threading

import pytest
from authority import Authority
from devtools import CHROMIUM
from harness import Daemon, listener, pool
from jupyter import Profile, jupyterlab, runs_kernel, runs_terminal, server
from pages import recipe
from wire import eventually

from balancer.cli.client import Client

pytestmark = [pytest.mark.site, pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")]

ALICE = "secret-alice"
OTHERS = [f"secret-{number}" for number in range(20)]


class Lab:
    """Two servers, and daemons in front of them, one after the other, with the same state."""

    def __init__(self, folder, ports):
        self.folder, self.ports = folder, ports
        self.certificate = Authority(folder).issue("ide.test", "*.test")

    @contextlib.contextmanager
    def daemon(self, **token):
        tls = {"certificates": [self.certificate]}
        sections = {"state_dir": str(self.folder / "state"), "admin": {"socket": str(self.folder / "admin.sock")}}
        hosts = [f"127.0.0.1:{port}" for port in self.ports]
        rule = {**recipe("JupyterLab"), **token}
        pools = [pool(*hosts, token=rule, linger="100ms")]
        with Daemon(self.folder, listeners=[listener(tls=tls)], pool=pools, **sections) as daemon:
            yield daemon
            self.lines = [json.loads(line) for line in daemon.stdout.lines]

    def admin(self, method, path, body):
        return Client(str(self.folder / "admin.sock")).ask(method, f"/v1/pools/ide/{path}", body)

    def digest(self, user):
        return self.admin("POST", "digest", {"token": user})["digest"]

    def neighbour(self, user):
        """A user whose host is another."""
        homes = {each: self.admin("POST", "explain", {"token": each})["owner"] for each in (user, *OTHERS)}
        return next(each for each in OTHERS if homes[each] != homes[user])

    def wrote(self, name):
        """The hosts on which the file is."""
        return [f"host-{n}" for n in range(2) if (self.folder / f"server-{n}/files/{name}").exists()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    python = jupyterlab(folder / "environment")
    with contextlib.ExitStack() as stack:
        yield Lab(folder, [stack.enter_context(server(python, folder / f"server-{number}")) for number in range(2)])


def url(daemon, user):
    return f"https://ide.test:{daemon.ports['web'][0]}/lab?token={user}"


def hosts_of(daemon, digest, after=0):
    """The hosts that served a user, by the access log from a line on."""
    lines = [json.loads(line) for line in daemon.stdout.lines[after:]]
    return {
        line["backend"] for line in lines if line["token"] == digest and line["backend"] and line["event"] != "close"
    }


def works(lab, tab, name):
    """A terminal and a kernel run; return the host that they run on."""
    runs_terminal(tab, f"{name}-terminal")
    runs_kernel(tab, f"{name}-kernel")
    eventually(lambda: lab.wrote(f"{name}-terminal") and lab.wrote(f"{name}-kernel"))
    (host,) = lab.wrote(f"{name}-terminal")
    assert lab.wrote(f"{name}-kernel") == [host]
    return host


def test_two_users_each_on_one_host_also_after_a_pin_a_drain_and_a_restart(lab, tmp_path):
    with Profile(tmp_path / "alice") as alice, Profile(tmp_path / "bob") as bob:
        with lab.daemon() as daemon:
            homes, neighbour = {}, lab.neighbour(ALICE)
            for profile, user in ((alice, ALICE), (bob, neighbour)):
                tab = profile.lab(url(daemon, user))
                homes[user] = works(lab, tab, user)
                assert profile.failed == []
                assert hosts_of(daemon, lab.digest(user)) == {homes[user]}
                profile.tab = tab
            other = homes[neighbour]
            assert homes[ALICE] != other
            lab.admin("POST", "pins", {"token": ALICE, "backend": other})
            alice.tab.call("Page.close")
            eventually(lambda: lab.admin("POST", "explain", {"token": ALICE})["live"] is None)
            begin = len(daemon.stdout.lines)
            alice.tab = alice.lab(url(daemon, ALICE))
            assert works(lab, alice.tab, "pinned") == other
            assert hosts_of(daemon, lab.digest(ALICE), begin) == {other}
            assert works(lab, bob.tab, "beside") == other

            lab.admin("PUT", f"backends/{other}/state", {"state": "maint"})
            alice.tab.call("Page.close")
            bob.tab.call("Page.close")
            eventually(lambda: lab.admin("POST", "explain", {"token": ALICE})["live"] is None)
            begin = len(daemon.stdout.lines)
            alice.tab = alice.lab(url(daemon, ALICE))
            assert works(lab, alice.tab, "drained") == homes[ALICE]
            assert hosts_of(daemon, lab.digest(ALICE), begin) == {homes[ALICE]}
            lab.admin("PUT", f"backends/{other}/state", {"state": "ready"})
            assert alice.failed == bob.failed == []
            alice.tab.call("Page.close")  # a daemon that stops waits for open tunnels
        with lab.daemon() as daemon:
            alice.failed.clear()
            tab = alice.lab(url(daemon, ALICE))
            assert works(lab, tab, "restarted") == other, "the pin is in the journal"
            assert hosts_of(daemon, lab.digest(ALICE)) == {other}
            tab.call("Page.close")


def test_in_a_frame_of_another_site(lab, tmp_path):
    with lab.daemon(remember_same_site="none") as daemon, Profile(tmp_path / "profile") as profile:
        user = "secret-framed"
        with site(lab, f'<iframe src="{url(daemon, user)}" style="width:900px;height:700px"></iframe>') as port:
            tab = profile.open("about:blank")
            tab.call("Network.enable")
            tab.call("Page.navigate", url=f"https://other.test:{port}/")
            frame = profile.frame("ide.test")
            frame.wait_for("document.querySelector('.jp-LauncherCard') && true")
            host = works(lab, frame, "framed")
            assert hosts_of(daemon, lab.digest(user)) == {host}


@contextlib.contextmanager
def site(lab, page):
    """Another site, whose only page is this."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(lab.certificate["cert"], lab.certificate["key"])
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield httpd.server_port
    finally:
        httpd.shutdown()
        httpd.server_close()
