"""Switching from haproxy to the daemon as in docs/migration.md: by a rule of the kernel, and by a floating IP."""

import contextlib
import json
import re
import sys
from pathlib import Path

import pytest
from conversing import Host, Tunnel
from machines import sh, wired
from proxies import eventually, haproxy, needs_haproxy, running

from balancer.cli.command import main

pytestmark = [pytest.mark.site, needs_haproxy]

PAGE = (Path(__file__).parents[2] / "docs/migration.md").read_text()
SWITCH = re.search(r"(nft 'add table inet move.*?')\n```", PAGE, re.DOTALL)[1]
BACK, GONE, LEFT = (re.search(f"`({words}[^`]*)`", PAGE)[1] for words in ("nft flush", "nft delete", "ss -Htn"))
USERS = [f"user-{number}" for number in range(6)]
FLOATING = "192.0.2.100"
CONFIGURATION = """\
defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
  timeout tunnel 1h
frontend ide
  bind 0.0.0.0:443
  bind :::443 v6only
  default_backend ide
backend ide
  balance url_param token
  hash-type consistent
"""


class World:
    """``clients`` and the hosts are on a machine of their own, haproxy on ``old``; ``new`` is for a floating IP."""

    def __init__(self, stack, folder):
        self.clients, self.old, self.new = stack.enter_context(wired(3))
        self._stack, self._folder = stack, folder
        with self.clients:
            hosts = [stack.enter_context(Host(f"ide-0{number}", "192.0.2.1")) for number in (1, 2, 3)]
        self._text = CONFIGURATION + "".join(
            "  server {} {}:{}\n".format(host.name.decode(), *host.server_address) for host in hosts
        )

    @contextlib.contextmanager
    def haproxy(self):
        with contextlib.ExitStack() as stack:
            with self.old:
                stack.enter_context(haproxy(self._folder / "old", self._text, 443))
            yield

    def daemon(self, run, machine, port):
        """What haproxy's file makes, on ``port``; the folder of its file and its socket."""
        folder = self._folder / str(port)
        file = folder / "balancer.toml"
        folder.mkdir()
        run("import", "haproxy", self._folder / "old" / "haproxy.cfg", "-o", file)
        made = file.read_text().replace(":443", f":{port}").replace("/run/balancer", str(folder))
        file.write_text("workers = 1\n" + made.replace("/var/lib/balancer", f"{folder}/state"))
        with machine:
            command = [sys.executable, "-m", "balancer", "--config", str(file)]
            self._stack.enter_context(running(command, port, folder / "log"))
        return folder

    def tunnels(self, *addresses):
        """One of each user, to each address."""
        with self.clients:
            tunnels = [Tunnel(address, 443, user) for address in addresses for user in USERS]
        for tunnel in tunnels:
            self._stack.callback(tunnel.close)
        return tunnels


@pytest.fixture
def world(tmp_path):
    with contextlib.ExitStack() as stack:
        yield World(stack, tmp_path)


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*args):
        monkeypatch.setattr(sys, "argv", ["balancer", *map(str, args)])
        code = main()
        output = capsys.readouterr()
        assert code == 0, output.out + output.err
        return output.out

    return command


def hosts(tunnels):
    return [tunnel.host for tunnel in tunnels]


def all_live(tunnels):
    return all(tunnel.lives() for tunnel in tunnels)


def test_on_the_same_machine(world, run):
    both = ("192.0.2.2", "2001:db8::2")
    with contextlib.ExitStack() as stack:
        stack.enter_context(world.haproxy())
        folder = world.daemon(run, world.old, 8443)
        admin = ("--admin", folder / "admin.sock")

        def taken():
            return json.loads(run("sessions", "--json", *admin))["count"]

        with world.old:
            old = world.tunnels(*both)
            sh(SWITCH)
            assert all_live(old)
            new = world.tunnels(*both)
            assert hosts(new) == hosts(old)
            assert taken() == len(new)
            assert all_live(old)

            sh(BACK)
            again = world.tunnels(*both)
            assert taken() == len(new)
            assert all_live(old + new + again)

            sh("nft add element inet move ports { 443 }")
            for tunnel in old + again:
                tunnel.close()
    with world.old:
        assert all_live(new)  # haproxy has ended
        file = folder / "balancer.toml"
        file.write_text(file.read_text().replace('"0.0.0.0:8443"', '"0.0.0.0:8443", "0.0.0.0:443"'))
        run("reload", *admin)
        sh(BACK)
        last = world.tunnels(both[0])
        assert hosts(last) == hosts(old[: len(last)])
        assert all_live(new)
        came_by_the_rule = len(sh(LEFT).splitlines())
        assert came_by_the_rule == len(new)
        for tunnel in new:
            tunnel.close()
        eventually(lambda: not sh(LEFT))
        sh(GONE)
        assert all_live(last)


def test_to_another_machine(world, run):
    with world.haproxy():
        world.daemon(run, world.new, 443)
        with world.old:
            sh(f"ip address add {FLOATING}/24 dev eth0")
        before = world.tunnels(FLOATING)
        with world.old:
            sh(f"ip address delete {FLOATING}/24 dev eth0")
        with world.new:
            sh(f"ip address add {FLOATING}/24 dev eth0")
        with world.clients:
            sh("ip neighbour flush all")  # what a gratuitous ARP does
        assert not any(tunnel.lives() for tunnel in before), "a client that is not told goes on waiting"
        assert hosts(world.tunnels(FLOATING)) == hosts(before)
