"""Real clients of socket.io and SignalR, from npm: one host for negotiation, polling and upgrade of each user.

The hosts keep sessions in memory, so a request that went to another one would fail.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from harness import SECRET, Daemon, listener, pool
from pages import recipe

HERE = Path(__file__).parent / "realtime"
PACKAGES = ("socket.io@4", "socket.io-client@4", "@microsoft/signalr@10")
USERS = [f"{SECRET}{number}.a+b/c==" for number in range(8)]

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="needs node and npm"),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Starts a script of ``realtime`` with these packages."""
    folder = tmp_path_factory.mktemp("packages")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install {', '.join(PACKAGES)}: {done.stderr.strip()}")
    environment = {**os.environ, "NODE_PATH": str(folder / "node_modules")}

    def node(script, *arguments):
        command = ["node", HERE / script, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return node


@pytest.fixture(scope="module")
def hosts(node):
    """The addresses of three hosts, by their names."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in ("host-0", "host-1", "host-2"):
            process = stack.enter_context(node("host.js", name))
            stack.callback(process.kill)
            found[name] = f"127.0.0.1:{int(process.stdout.readline())}"
        yield found


def reached(node, *command):
    """What a client prints: the hosts of each user, by the transport."""
    with node(*command) as process:
        told, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return json.loads(told)


@pytest.mark.parametrize(
    ("title", "client", "places"),
    [
        ("socket.io", ["socketio.js"], {"query"}),
        ("SignalR", ["signalr.js", "browser"], {"header", "query"}),
        ("SignalR", ["signalr.js", "node"], {"header", "query"}),
    ],
    ids=["socket.io", "SignalR in a browser", "SignalR in node"],
)
def test_each_user_is_on_one_host(tmp_path, node, hosts, title, client, places):
    settings = pool(*hosts.values(), token=recipe(title))
    with Daemon(tmp_path, listeners=[listener()], pool=[settings]) as daemon:
        found = reached(node, *client, f"http://127.0.0.1:{daemon.ports['web'][0]}", *USERS)
        homes = {user: set(by_transport.values()) for user, by_transport in found.items()}
        assert set(homes) == set(USERS)
        assert all(len(each) == 1 and len(found[user]) == 3 for user, each in homes.items()), found
        assert set.union(*homes.values()) == set(hosts)
        daemon.stop()
        lines = [json.loads(line) for line in daemon.stdout.lines]
    backends = defaultdict(set)
    for line in lines:
        backends[line["token"]].add(line["backend"])
    assert len(backends) == len(USERS)
    assert all(len(each) == 1 for each in backends.values()), backends
    assert {line["token_from"] for line in lines if line["event"] != "close"} == places
