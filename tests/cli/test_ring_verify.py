"""`balancer ring verify` on the logs of a real haproxy and a real nginx, and against them while they run."""

import gzip
import io
import json
import re
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "migrate"))

from proxies import ask, eventually, free_ports, haproxy, hosts, needs_haproxy, needs_nginx, nginx, tell

from balancer.cli.command import main

pytestmark = [needs_haproxy, needs_nginx]

NAMES = ("ide-01", "ide-02", "ide-03", "ide-04")
WEIGHTS = (1, 2, 1, 3)


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*args, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["balancer", "ring", "verify", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        output = capsys.readouterr()
        assert "secret-" not in output.out + output.err
        return code, output.out, output.err

    return command


def config(folder, ports, ring, weights=WEIGHTS, names=NAMES):
    path = folder / f"{abs(hash((ring, weights, names)))}.toml"
    backends = "".join(
        f'[[pool.backend]]\nname = "{name}"\naddress = "127.0.0.1:{port}"\nweight = {float(weight)}\n'
        for name, port, weight in zip(names, ports, weights, strict=True)
    )
    path.write_text(
        '[[listener]]\nname = "l"\nbind = ["127.0.0.1:0"]\npool = "ide"\n[[pool]]\nname = "ide"\n'
        f"[pool.ring]\n{ring}\n{backends}"
    )
    return path


HAPROXY = 'algorithm = "haproxy"\nhash_type = "consistent"'
TARGETS = [f"/s?b=1&token=secret-{n}" for n in range(300)]


class World:
    """Four hosts, and a log to be read: of 300 users, three times, the second host being away in the middle."""

    def __init__(self, folder, ports, front, requests):
        """They log a request after its answer, so the last may still be missing."""
        eventually(lambda: (folder / "log").read_bytes().count(b"GET /") >= requests)
        self.folder, self.ports, self.front = folder, ports, front
        self.log = folder / "slow.log"
        self.log.write_bytes(b"".join(_slowed((folder / "log").read_bytes().splitlines(keepends=True))))


def _slowed(lines):
    """The same as if ten lines had come in a second, not hundreds."""
    for number, line in enumerate(lines):
        clock = time.gmtime(1_795_000_000 + number // 10)
        line = re.sub(
            rb"\d\d/[A-Z][a-z]{2}/\d{4}:[\d:]{8}", time.strftime("%d/%b/%Y:%H:%M:%S", clock).encode(), line, count=1
        )
        yield re.sub(rb"[A-Z][a-z]{2} [ \d]\d [\d:]{8}", time.strftime("%b %d %H:%M:%S", clock).encode(), line, count=1)


@pytest.fixture(scope="module")
def behind_haproxy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("haproxy")
    front, *ports = free_ports(5)
    servers = "".join(
        f"  server {name} 127.0.0.1:{port} weight {weight}\n"
        for name, port, weight in zip(NAMES, ports, WEIGHTS, strict=True)
    )
    text = (
        f"global\n  log stdout format rfc3164 local0\n  stats socket {folder}/cli level admin\n"
        "defaults\n  mode http\n  log global\n  option httplog\n  timeout connect 1s\n  timeout client 9s\n"
        f"  timeout server 9s\nfrontend f\n  bind 127.0.0.1:{front}\n  default_backend ide\n"
        f"backend ide\n  balance url_param token\n  hash-type consistent\n{servers}"
    )
    with hosts(folder / "hosts", ports), haproxy(folder, text, front):
        ask(front, [*TARGETS, "/none"])
        tell(folder / "cli", "disable server ide/ide-02")
        ask(front, TARGETS)
        tell(folder / "cli", "enable server ide/ide-02")
        ask(front, TARGETS)
        yield World(folder, ports, front, 901)


@pytest.fixture(scope="module")
def behind_nginx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nginx")
    front, *ports = free_ports(5)
    servers = "".join(
        f"server 127.0.0.1:{port} weight={weight};\n" for port, weight in zip(ports, WEIGHTS, strict=True)
    )
    inside = (
        f'log_format up escape=json \'{{"at":"$time_local","to":"$upstream_addr","what":"$request"}}\';\n'
        f"access_log {folder}/log up;\nkeepalive_requests 9999;\n"
        f"upstream ide {{ hash $arg_token consistent;\n{servers}}}\n"
        f"server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://ide; }} }}"
    )
    with hosts(folder / "hosts", [ports[0], *ports[2:]]), nginx(folder, inside, front):
        with hosts(folder / "second", [ports[1]]):
            ask(front, TARGETS)
        ask(front, TARGETS)
        yield World(folder, ports, front, 600)


def test_the_log_of_haproxy(behind_haproxy, run):
    right = config(behind_haproxy.folder, behind_haproxy.ports, HAPROXY)
    code, out, _ = run("--config", right, behind_haproxy.log, "--json")
    (pool,) = json.loads(out)["pools"]
    assert (code, pool["proved"], pool["compared"]) == (0, True, 900)
    assert {group["cause"] for group in pool["groups"]} == {"down"}
    assert {group["owner"] for group in pool["groups"]} == {"ide-02"}
    assert pool["left_out"] == {"no token": 1}
    code, out, _ = run("--config", right, "-", stdin=gzip.compress(behind_haproxy.log.read_bytes()))
    assert code == 0
    assert "explained: host was down" in out


@pytest.mark.parametrize(
    ("ring", "weights"), [(HAPROXY, (1, 1, 1, 3)), ('algorithm = "haproxy"', WEIGHTS), ('algorithm = "ring"', WEIGHTS)]
)
def test_another_ring_is_not_proved(behind_haproxy, run, ring, weights):
    wrong = config(behind_haproxy.folder, behind_haproxy.ports, ring, weights)
    code, out, _ = run("--config", wrong, behind_haproxy.log)
    assert code == 1
    assert "DIFFER: differs" in out
    assert "NOT PROVED" in out


def test_the_log_of_nginx(behind_nginx, run):
    layout = behind_nginx.folder / "format"
    layout.write_text('escape=json {"at":"$time_local","to":"$upstream_addr","what":"$request"}\n')
    right = config(behind_nginx.folder, behind_nginx.ports, 'algorithm = "nginx"')
    code, out, _ = run("--config", right, "--format", f"@{layout}", behind_nginx.log, "--json")
    (pool,) = json.loads(out)["pools"]
    assert (code, pool["proved"], pool["compared"]) == (0, True, 600)
    assert {group["cause"] for group in pool["groups"]} == {"passed_on", "silent"}
    wrong = config(behind_nginx.folder, behind_nginx.ports, HAPROXY)
    assert run("--config", wrong, "--format", f"@{layout}", behind_nginx.log)[0] == 1


@pytest.mark.parametrize(("world", "ring"), [("behind_haproxy", HAPROXY), ("behind_nginx", 'algorithm = "nginx"')])
def test_against_a_running_one(request, run, world, ring):
    world = request.getfixturevalue(world)
    url = f"http://127.0.0.1:{world.front}/ask?x=1"
    how = ["--against", url, "--count", 400, "--rate", "1000/s"]
    if ring == HAPROXY:
        code, out, err = run("--config", config(world.folder, world.ports, ring), *how, "--header", "x-host")
    else:  # the second host has gone for good
        code, out, err = run("--config", config(world.folder, world.ports, ring), *how, "--body", "--down", "ide-02")
        assert "explained: host was down" in out
    assert (code, err) == (0, "")
    assert "400 requests compared" in out
    code, out, _ = run("--config", config(world.folder, world.ports, ring, (1, 1, 1, 1)), *how, "--body")
    assert code == 1
    assert "probe 1" in out


def test_marks_of_their_own(behind_haproxy, run):
    """A host may call itself otherwise than we do; what nobody knows is no host of ours."""
    named = tuple(f"host-{n}" for n in range(4))
    mine = config(behind_haproxy.folder, behind_haproxy.ports, HAPROXY, names=named)
    how = [
        "--against",
        f"http://127.0.0.1:{behind_haproxy.front}",
        "--count",
        "50",
        "--rate",
        "1000/s",
        "--header",
        "date",
    ]
    code, out, _ = run("--config", mine, *how)
    assert code == 1
    assert "went to answer 200 that names no backend" in out
    how[-1] = "X-Host"
    marks = [f"127.0.0.1:{port}=host-{n}" for n, port in enumerate(behind_haproxy.ports)]
    assert run("--config", mine, *how, *(word for mark in marks for word in ("--mark", mark)))[0] == 0
    marks = marks[1:]
    assert run("--config", mine, *how, "--mark", f"127.0.0.1:{behind_haproxy.ports[0]}=host-1")[0] == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give log files to read, or --against URL"),
        (["{log}", "--against", "http://127.0.0.1:1"], "give log files to read, or --against URL"),
        (["--against", "http://127.0.0.1:1"], "--header NAME or --body"),
        (["--against", "http://127.0.0.1:1", "--body"], "no answer from 127.0.0.1:1: Connection refused"),
        (["--against", "http://192.0.2.1:1/", "--body"], "192.0.2.1 is not this machine"),
        (["--against", "http://192.0.2.1:1/", "--body", "--allow-host", "192.0.2.2"], "192.0.2.1 is not this machine"),
        (["--against", "ftp://127.0.0.1/", "--body"], "--against expects http://HOST:PORT/"),
        (["--against", "http://127.0.0.1:x/", "--body"], "--against expects http://HOST:PORT/"),
        (["--against", "http://u:p@127.0.0.1/", "--body"], "--against expects http://HOST:PORT/"),
        (["--against", "http://127.0.0.1:1", "--body", "--count", "1000000"], "--count is at most 100000"),
        (["--against", "http://127.0.0.1:1", "--body", "--mark", "x=y"], "--mark expects MARK=NAME"),
        (["{log}", "--down", "ide-9"], 'no pool has a backend "ide-9"'),
        (["{log}", "--pool", "x"], 'no pool "x"; it has ide'),
        (["{log}", "--format", "combined"], 'unknown format "combined"'),
        (["{log}", "--format", "$request"], "no $upstream_addr"),
        (["{log}", "--format", "@/no/such"], "cannot read /no/such: No such file"),
        (["/no/such"], "cannot read /no/such: No such file"),
        (["{damaged}"], "damaged: it is damaged"),
    ],
)
def test_refusals_say_what_to_do(behind_haproxy, run, tmp_path, args, message):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(gzip.compress(b"x" * 9999)[:-9])
    right = config(behind_haproxy.folder, behind_haproxy.ports, HAPROXY)
    words = [arg.format(log=behind_haproxy.log, damaged=damaged) for arg in args]
    code, out, err = run("--config", right, *words)
    assert (code, out) == (1, "")
    assert message in err


def test_a_log_of_something_else_proves_nothing(behind_haproxy, run, tmp_path):
    log = tmp_path / "other.log"
    log.write_bytes(b"hello\n" + b"x" * 200_000 + b"\nworld")
    right = config(behind_haproxy.folder, behind_haproxy.ports, HAPROXY)
    code, out, _ = run("--config", right, log)
    assert code == 1
    assert "3 are no requests in this format and no changes of servers; first: " in out
    assert f"{log}:1" in out
    assert "nothing was compared, so nothing is proved" in out
    other = tmp_path / "renamed.log"
    other.write_bytes(behind_haproxy.log.read_bytes().replace(b" ide/", b" www/"))
    code, out, _ = run("--config", right, other)
    assert code == 1
    assert "belong to no pool here: www" in out
    assert run("--config", right, other, "--backend", "www")[0] == 0
    other.write_bytes(behind_haproxy.log.read_bytes().replace(b"ide-03", b"host_3"))
    assert run("--config", right, other)[0] == 1
    assert run("--config", right, other, "--mark", "host_3=ide-03")[0] == 0
