"""Moving in as in docs/migration.md, step by step, from a haproxy under load: nobody moves, and no tunnel is cut."""

import contextlib
import json
import re
import sys
import threading

import pytest
from conversing import Host, Tunnel
from proxies import ask, free_ports, haproxy, needs_haproxy, running

from balancer.cli.command import main

pytestmark = needs_haproxy

USERS = [f"user-{number}" for number in range(300)]


@contextlib.contextmanager
def load(port):
    """Requests of all users, again and again; the hosts that each has been on."""
    seen, ended = {user: set() for user in USERS}, threading.Event()

    def run():
        again = True
        while again:
            again = not ended.is_set()
            for user, host in zip(USERS, ask(port, [f"/?token={user}" for user in USERS]), strict=True):
                seen[user].add(host)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*args, code=0):
        monkeypatch.setattr(sys, "argv", ["balancer", *map(str, args)])
        found = main()
        output = capsys.readouterr()
        assert found == code, output.out + output.err
        return output.out

    return run


def test_step_by_step(tmp_path, command):
    front, ours = free_ports(2)
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(Host(f"ide-0{number}")) for number in (1, 2, 3)]
        servers = "".join(f"  server {host.name.decode()} 127.0.0.1:{host.server_address[1]}\n" for host in hosts)
        text = (
            "global\n  log stdout format raw local0\ndefaults\n  mode http\n  log global\n  option httplog\n"
            f"  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\nfrontend ide\n  bind 127.0.0.1:{front}\n"
            f"  default_backend ide\nbackend ide\n  balance url_param token\n  hash-type consistent\n{servers}"
        )
        stack.enter_context(haproxy(tmp_path, text, front))
        busy = stack.enter_context(load(front))
        tunnels = [stack.enter_context(contextlib.closing(Tunnel("127.0.0.1", front, user))) for user in USERS[:20]]

        file = tmp_path / "balancer.toml"
        command("import", "haproxy", tmp_path / "haproxy.cfg", "-o", file)
        made = file.read_text().replace(f":{front}", f":{ours}").replace("127.0.0.1:9600", "127.0.0.1:0")
        file.write_text(made.replace("/run/balancer", str(tmp_path)).replace("/var/lib/balancer", f"{tmp_path}/state"))
        command("check", "--config", file)
        assert "proved" in command("ring", "verify", "--config", file, tmp_path / "log")

        daemon = [sys.executable, "-m", "balancer", "--config", str(file)]
        stack.enter_context(running(daemon, ours, tmp_path / "daemon.log"))
        for port in (front, ours):
            asked = ["--against", f"http://127.0.0.1:{port}/", "--header", "X-Host", "--count", 300, "--rate", "1000/s"]
            assert "300 agree" in command("ring", "verify", "--config", file, *asked)

        tunnels += [stack.enter_context(contextlib.closing(Tunnel("127.0.0.1", ours, user))) for user in USERS[:20]]
        assert [tunnel.host for tunnel in tunnels[:20]] == [tunnel.host for tunnel in tunnels[20:]]
        with load(ours) as moved:
            pass
        assert {user: seen for user, seen in moved.items() if seen} == {
            user: seen for user, seen in busy.items() if seen
        }
        assert all(len(seen) == 1 for seen in busy.values())

        new = tmp_path / "new.toml"
        settled = re.sub(r'algorithm = "haproxy".*\nhash_type = "consistent".*', 'algorithm = "ring"', file.read_text())
        before = 'before = { algorithm = "haproxy", hash_type = "consistent" }\nrehomed = 0.1'
        new.write_text(settled.replace('algorithm = "ring"', f'algorithm = "ring"\n{before}'))
        assert 'algorithm = "haproxy"' not in settled
        (plan,) = [json.loads(command("ring", "plan", "--config", file, "--to", new, "--json"))[0]]
        assert 0.04 < plan["moved"] < 0.1
        assert all(tunnel.lives() for tunnel in tunnels)

        admin = ["--admin", tmp_path / "admin.sock"]
        file.write_text(new.read_text())
        assert "all of this is active now" in command("reload", *admin)
        assert all(tunnel.lives() for tunnel in tunnels), "a reload cuts nobody off"
        with load(ours) as later:
            pass
        connected, others = USERS[:20], USERS[20:]
        assert {user: later[user] for user in connected} == {user: moved[user] for user in connected}
        changed = [user for user in others if later[user] != moved[user]]
        assert 0.02 * len(others) < len(changed) < 0.15 * len(others)
        strays = json.loads(command("ring", "strays", *admin, "--json"))["count"]
        assert strays, "or there is nothing to see"
        command("ring", "settle", "--rate", "1000/s", *admin)
        with load(ours) as home:
            while json.loads(command("ring", "strays", *admin, "--json"))["count"]:
                pass
        gone = [user for user, tunnel in zip(connected, tunnels[20:], strict=True) if not tunnel.lives()]
        assert len(gone) == strays, "only who belongs elsewhere is sent home"
        assert {user for user in connected if len(home[user]) > 1} <= set(gone)
        assert all(tunnel.lives() for tunnel in tunnels[:20]), "haproxy's are haproxy's"
