"""What happens in each failure, how fast, and where it shows: ``python tests/chaos/failures.py [NAME ...]``.

Make each failure happen to the real daemon, check that its metric moves and its line is written, and print what
``docs/failures.md`` says of it, with the times measured now. Health checks are those of ``conf/prod.toml``; where a
timeout of minutes would have to pass, a shorter one is set, and the times are "after the timeout".
"""

import argparse
import contextlib
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from chaos_world import Refused, World, tree
from harness import Daemon
from wire import Peer, get

HEALTH = {"type": "http", "interval": "2s", "fast_interval": "1s", "timeout": "1s", "rise": 2, "fall": 3}
HANDSHAKE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
MASKED = b"\x81\x83\0\0\0\0c 1"
"""The first message of a tunnel."""
PATIENCE = 60.0


class Stage:
    """A world for one failure: requests, tunnels, metrics and the lines of the daemon."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told = ""
        """What an operator was answered."""
        self._ends = contextlib.ExitStack()

    @property
    def daemon(self) -> Daemon:
        return self.world.daemon

    def close(self) -> None:
        self._ends.close()

    def restart(self) -> None:
        """Start the daemon again."""
        self._ends.enter_context(self.world.start_daemon())

    def connect(self, source: str = "127.0.0.1") -> Peer:
        """A client at an address of the loopback."""
        sock = socket.create_connection(("127.0.0.1", self.world.port), PATIENCE, source_address=(source, 0))
        peer = self._ends.enter_context(Peer(sock))
        sock.settimeout(PATIENCE)
        return peer

    def tunnel(self, user: str) -> tuple[Peer, str]:
        """An open tunnel of the user, and the host it is on."""
        peer = self.connect()
        peer.send(get(f"/ws?token=secret-{user}", *HANDSHAKE))
        assert peer.head().status == 101
        _, host, _ = message(peer).split()
        return peer, host

    def user_of(self, host: str, but: int = -1) -> str:
        """A user whose home is this host."""
        place = self.world.admin
        return next(
            user
            for user in (f"user-{n}" for n in range(but + 1, 1000))
            if place("POST", "/explain", {"token": f"secret-{user}"})["placed"] == host
        )

    def ask(self, user: str, source: str = "127.0.0.1") -> tuple[int, float]:
        """One GET on a new connection: its status, and how many seconds it took."""
        began = time.monotonic()
        peer = self.connect(source)
        peer.send(get(f"/?token=secret-{user}", "Connection: close"))
        return peer.response().status, time.monotonic() - began

    def metric(self, name: str) -> list[str]:
        """All samples of a metric."""
        text = self.world.ask("GET", "/metrics").decode()
        return [line for line in text.splitlines() if re.match(rf"{name}[{{ ]", line)]

    def until(self, true: Callable[[], object]) -> float:
        """Seconds until it is true."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() < began + PATIENCE, "it never came"
            time.sleep(0.01)
        return time.monotonic() - began

    def written(self, text: str) -> bool:
        """Is it in the messages, in the access log, or in an operator's answer?"""
        return text in str(self.daemon.stderr) + str(self.daemon.stdout) + self.told

    def verdict(self, host: str, up: bool) -> Callable[[], bool]:
        """Asks whether the host is held for healthy, or for not."""
        return lambda: any(
            f'"{host}"' in sample and sample.endswith(f" {float(up)}")
            for sample in self.metric("balancer_backend_healthy")
        )


@dataclass(frozen=True)
class Failure:
    """One failure; ``make`` makes it happen and returns what it measured."""

    name: str
    what: str
    """What happens, to whom."""
    metric: str
    log: str
    """A piece of the line that is written."""
    make: Callable[[Stage], str]
    settings: dict[str, object]


FAILURES: list[Failure] = []


def failure(name: str, what: str, *, metric: str, log: str, **settings: object) -> Callable[[Callable], Callable]:
    def add(make: Callable[[Stage], str]) -> Callable[[Stage], str]:
        FAILURES.append(Failure(name, what, metric, log, make, settings))
        return make

    return add


def message(peer: Peer) -> str:
    """The next text of a tunnel."""
    first, size = peer.exactly(2)
    assert first == 0x81
    return peer.exactly(size).decode()


def ask_again(peer: Peer) -> None:
    """The tunnel answers."""
    peer.send(MASKED)
    while message(peer) != "e 1":
        pass


def ended(peer: Peer) -> float:
    """Seconds until nothing more comes."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while peer.more():
            pass
    return time.monotonic() - began


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{seconds:.1f} s"


@failure(
    "A host's process dies",
    "Its tunnels end. Its users get the next host in their order.",
    metric="balancer_backend_connect_errors_total",
    log="connect failed: connection refused; trying others first",
)
def killed(stage: Stage) -> str:
    host = stage.world.hosts[0]
    user = stage.user_of(host.name)
    peer, place = stage.tunnel(user)
    assert place == host.name
    host.kill()
    gone = ended(peer)
    status, took = stage.ask(user)
    assert status == 200
    noticed = stage.until(stage.verdict(host.name, False))
    return f"tunnels {ms(gone)}, requests {ms(took)}, health {ms(noticed)}"


@failure(
    "A host comes back",
    "New users and those without tunnels return at once, the others when their tunnels have closed.",
    metric="balancer_health_changes_total",
    log="down -> up: status 200",
)
def returned(stage: Stage) -> str:
    host = stage.world.hosts[0]
    user = stage.user_of(host.name)
    host.kill()
    stage.until(stage.verdict(host.name, False))
    host.start()
    return f"health {ms(stage.until(stage.verdict(host.name, True)))}" + (stage.ask(user)[0] != 200) * " (failed)"


@failure(
    "A host hangs (SIGSTOP)",
    "Its kernel still accepts connections: its users wait until its probes have failed, then get the next host.",
    metric="balancer_health_checks_total",
    log="up -> down: answer timed out",
)
def hangs(stage: Stage) -> str:
    host = stage.world.hosts[0]
    user = stage.user_of(host.name)
    host.signal(signal.SIGSTOP)
    try:
        noticed = stage.until(stage.verdict(host.name, False))
        status, took = stage.ask(user)
        assert status == 200
    finally:
        host.signal(signal.SIGCONT)
    return f"health {ms(noticed)}, requests after it {ms(took)}"


@failure(
    "A host cannot be reached (no answer to SYN)",
    "The first of its users waits for `timeouts.connect`. The others go to the next host at once.",
    metric="balancer_backend_connect_errors_total",
    log="connect timed out; trying others first",
)
def unreachable(stage: Stage) -> str:
    host = stage.world.hosts[0]
    users = [stage.user_of(host.name)]
    users.append(stage.user_of(host.name, int(users[0].removeprefix("user-"))))
    host.kill()
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind(("127.0.0.1", host.port))
        full.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        first, second = (stage.ask(user) for user in users)
        noticed = stage.until(stage.verdict(host.name, False))
    assert (first[0], second[0]) == (200, 200)
    return f"first request {ms(first[1])}, next ones {ms(second[1])}, health {ms(first[1] + second[1] + noticed)}"


@failure(
    "A host passes its probes and fails its users",
    'With `passive.mode = "on"` it is ejected after 5 failures in a row, not counting those of any two clients.',
    metric="balancer_ejections_total",
    log="failures in a row",
    health={**HEALTH, "passive": {"mode": "on"}},
)
def fails_users(stage: Stage) -> str:
    host = stage.world.hosts[0]
    users = [stage.user_of(host.name)]
    while len(users) < 8:
        users.append(stage.user_of(host.name, int(users[-1].removeprefix("user-"))))
    host.signal(signal.SIGHUP)
    for number, user in enumerate(users, start=2):
        stage.ask(user, f"127.0.0.{number}")
    took = stage.until(lambda: stage.written("failures in a row"))
    assert stage.ask(users[0])[0] == 200
    return f"{ms(took)} after the last of them"


@failure(
    "All hosts are down",
    "503 with `Retry-After`. Every request tries all hosts, so the first one that is back is found at once.",
    metric="balancer_backend_connect_errors_total",
    log="no backend could be reached",
)
def all_down(stage: Stage) -> str:
    for host in stage.world.hosts:
        host.kill()
    status, took = stage.ask("user-1")
    assert status == 503
    stage.world.hosts[0].start()
    found, _ = stage.ask("user-1")
    assert found == 200
    return f"503 in {ms(took)}"


@failure(
    "A host flaps",
    "It stays out for `ejection_time` times the number of recent outages. Its users stay elsewhere meanwhile.",
    metric="balancer_health_changes_total",
    log="kept out: it went down 2 times lately",
)
def flaps(stage: Stage) -> str:
    host = stage.world.hosts[0]
    for _ in range(2):
        host.kill()
        stage.until(stage.verdict(host.name, False))
        host.start()
        stage.until(lambda: f"{host.name} of pool ide: down -> up" in str(stage.daemon.stderr))
    return "with the second fall"


@failure(
    "A host is drained",
    "No new users. Connected users can open further tabs there. After its `--cut-after` tunnels end with code 1012.",
    metric="balancer_backend_takes_new",
    log="the drain of host-0 is over",
    timeouts={"drain": "2s", "close_spread": "500ms"},
)
def drained(stage: Stage) -> str:
    host = stage.world.hosts[0]
    user = stage.user_of(host.name)
    other = stage.user_of(host.name, int(user.removeprefix("user-")))
    peer, _ = stage.tunnel(user)
    began = time.monotonic()
    stage.world.admin("PUT", f"/backends/{host.name}/state", {"state": "drain"})
    answered = time.monotonic() - began
    assert stage.tunnel(other)[1] != host.name
    assert stage.tunnel(user)[1] == host.name
    left = ended(peer)
    return f"no new users after {ms(answered)}, tunnels end {ms(left - 2)} after the timeout"


@failure(
    "A client resets, or its machine says so",
    "Its tunnel ends on the host's side. The user's lease lasts for `linger`.",
    metric="balancer_backend_tunnels",
    log="the client connection broke (ECONNRESET)",
)
def client_resets(stage: Stage) -> str:
    before = stage.metric("balancer_backend_tunnels")
    peer, _ = stage.tunnel("user-1")
    peer.reset()
    took = stage.until(lambda: stage.metric("balancer_backend_tunnels") == before)
    stage.tunnel("user-1")  # the metric has to have moved in the end
    return f"{ms(took)}"


@failure(
    "A client vanishes without a word",
    "Its tunnel ends after `timeouts.tunnel_idle` without a byte.",
    metric="balancer_backend_requests_total",
    log="silent for too long",
    timeouts={"tunnel_idle": "700ms"},
)
def client_vanishes(stage: Stage) -> str:
    peer, _ = stage.tunnel("user-1")
    return f"{ms(ended(peer) - 0.7)} after the timeout"


@failure(
    "A client sends its request slowly",
    "408 after `timeouts.head`, however its bytes trickle in. Other clients are not affected.",
    metric="balancer_listener_connections_total",
    log="the request head took too long",
    timeouts={"head": "1s"},
)
def slow_sender(stage: Stage) -> str:
    peer = stage.connect()
    began = time.monotonic()
    peer.sock.settimeout(0.05)
    for byte in get("/?token=secret-1") * 100:
        try:
            peer.send(bytes([byte]) if byte not in b"\r\n" else b"x")
            answer = peer.more()
        except TimeoutError:
            continue
        break
    assert b" 408 " in answer
    return f"{ms(time.monotonic() - began - 1)} after the timeout"


@failure(
    "A client does not read its answer",
    "The host has to wait, as nothing is buffered. The connection is cut after `timeouts.send`.",
    metric="balancer_backend_sent_bytes_total",
    log="the client reads too slowly, or not at all",
    timeouts={"send": "1s"},
)
def slow_reader(stage: Stage) -> str:
    peer = stage.connect()
    peer.send(get("/big/50000000?token=secret-1"))
    assert peer.head().status == 200
    took = stage.until(lambda: stage.written("the client reads too slowly"))
    return f"{ms(took - 1)} after the timeout"


@failure(
    "File descriptors run out",
    "New connections are closed at once. Open ones go on.",
    metric="balancer_connections_refused_total",
    log="descriptors",
)
def descriptors(stage: Stage) -> str:
    stage.world.admin("PUT", "/backends/host-2/weight", {"weight": 2})  # all processes are at work
    peer, _ = stage.tunnel("user-1")
    pids = tree(stage.daemon.process.pid)
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in limits.items():
        highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
    for _ in range(20):  # the first ones get the numbers that were free
        client, began = stage.connect(), time.monotonic()
        client.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            assert client.ended()
            break
    took = time.monotonic() - began
    assert took < 0.5
    ask_again(peer)
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    assert stage.ask("user-1")[0] == 200
    return f"closed in {ms(took)}"


@failure(
    "The disk takes no more",
    "A change that cannot be saved is refused with the reason. Traffic goes on; pins and states stay.",
    metric="",
    log="nothing was changed",
)
def disk(stage: Stage) -> str:
    for pid in tree(stage.daemon.process.pid):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    began = time.monotonic()
    try:
        stage.world.admin("PUT", "/backends/host-0/weight", {"weight": 2})
    except Refused as error:
        stage.told = str(error)
    took = time.monotonic() - began
    assert stage.ask("user-1")[0] == 200
    return f"{ms(took)}"


@failure(
    "A worker is killed, or crashes",
    "Its own connections end, no others. Its clients reconnect and are served by the next worker.",
    metric="balancer_process_starts_total",
    log="ended (signal SIGKILL); restarting it",
    workers=2,
)
def worker_dies(stage: Stage) -> str:
    tunnels = {user: stage.tunnel(user) for user in map("user-{}".format, range(12))}
    (pid, _) = stage.world.processes("worker")
    before = stage.world.served_by(pid)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    cut = [user for user, (peer, _) in tunnels.items() if peer.sock.getsockname()[1] in before]
    for user in tunnels.keys() - cut:
        ask_again(tunnels[user][0])
    gone = max((ended(tunnels[user][0]) for user in cut), default=0.0)
    assert all(stage.tunnel(user)[1] == tunnels[user][1] for user in cut)
    back = time.monotonic() - began
    stage.world.whole()
    return f"tunnels {ms(gone)}, all of them back {ms(back)}, two workers again {ms(time.monotonic() - began)}"


@failure(
    "A worker hangs (SIGSTOP)",
    "Its clients wait. After `timeouts.hang` without a heartbeat it is killed and replaced.",
    metric="balancer_process_starts_total",
    log="no heartbeat for",
    workers=2,
    timeouts={"hang": "3s"},
)
def worker_hangs(stage: Stage) -> str:
    time.sleep(10)  # one that has just started is given that long
    began = time.monotonic()
    (former, _) = stage.world.processes("worker")
    os.kill(former, signal.SIGSTOP)
    stage.until(lambda: former not in stage.world.processes("worker"))
    killed = time.monotonic() - began
    assert all(stage.ask(f"user-{n}")[0] == 200 for n in range(8))
    return f"killed after {ms(killed)} with a timeout of 3 s, all served {ms(time.monotonic() - began - killed)} later"


@failure(
    "Control is killed, or crashes",
    "Tunnels and requests go on. Its replacement knows pins, states, weights and connected users.",
    metric="balancer_process_starts_total",
    log="control restarted",
    workers=2,
)
def control_dies(stage: Stage) -> str:
    stage.world.admin("POST", "/pins", {"token": "secret-user-1", "backend": "host-1"})
    peer, _ = stage.tunnel("user-1")
    (pid,) = stage.world.processes("control")
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    status, took = stage.ask("user-1")
    assert status == 200
    assert stage.tunnel("user-1")[1] == "host-1"
    ask_again(peer)
    stage.world.whole()
    again = time.monotonic() - began
    assert stage.tunnel("user-1")[1] == "host-1"
    return f"requests {ms(took)}, operators {ms(again)}"


@failure(
    "The file is wrong at a reload",
    "Nothing changes, and every problem is reported. The active configuration stays, even if control crashes.",
    metric="balancer_config_last_reload_success",
    log="reload by SIGHUP refused, nothing has changed",
)
def bad_reload(stage: Stage) -> str:
    peer, _ = stage.tunnel("user-1")
    stage.daemon.configure(pool=[])
    began = time.monotonic()
    stage.daemon.process.send_signal(signal.SIGHUP)
    stage.until(lambda: stage.written("refused, nothing has changed"))
    took = time.monotonic() - began
    ask_again(peer)
    assert stage.ask("user-1")[0] == 200
    return f"refused in {ms(took)}"


@failure(
    "The daemon is killed (kill -9)",
    "Tunnels end. Once it is started again, pins, states, weights and health are as they were.",
    metric="process_start_time_seconds",
    log="accepts on",
)
def daemon_dies(stage: Stage) -> str:
    stage.world.admin("POST", "/pins", {"token": "secret-user-1", "backend": "host-1"})
    peer, place = stage.tunnel("user-1")
    for pid in tree(stage.daemon.process.pid):
        os.kill(pid, signal.SIGKILL)
    gone = ended(peer)
    began = time.monotonic()
    stage.restart()
    assert stage.tunnel("user-1")[1] == place == "host-1"
    return f"tunnels {ms(gone)}, serving {ms(time.monotonic() - began)} after its start"


def measure(each: Failure) -> str:
    """Make it happen; what was measured. Fails if metric or line do not show it."""
    settings = dict(each.settings)
    keys = {"health": settings.pop("health", HEALTH)}
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), 3, 1, keys, **settings) as world:
        stage = Stage(world)
        try:
            before = each.metric and stage.metric(each.metric)
            measured = each.make(stage)
            stage.until(lambda: stage.written(each.log))
            stage.until(lambda: not each.metric or stage.metric(each.metric) != before)
        finally:
            stage.close()
    return measured


def section(each: Failure, fast: str) -> str:
    """The failure as ``docs/failures.md`` describes it, but for what to do."""
    lines = [f"## {each.name}", "", *textwrap.wrap(each.what, 100), "", f"- Time: {fast}"]
    if each.metric:
        lines.append(f"- Metric: `{each.metric}`")
    return "\n".join([*lines, f"- Log: `{each.log}`"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {each.make.__name__: each for each in FAILURES}
    parser.add_argument("name", nargs="*", default=list(names), help=f"of {', '.join(names)}; all, if none is given")
    args = parser.parse_args()
    for name in args.name:
        print(section(names[name], measure(names[name])), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
