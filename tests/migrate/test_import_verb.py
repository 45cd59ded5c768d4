"""`balancer import`, as an operator runs it, and the switch from haproxy to the daemon on the same hosts."""

import json
import os
import subprocess
import sys
import time

import pytest
from haproxy_rig import BASE, TOKENS, Haproxy, Ports, ask, hosts, needs_haproxy
from harness import ACCEPTS, Output
from wire import PATIENCE, end_with_parent

from balancer.cli.command import main
from balancer.config.load import load

NAMES = ["front", "admin", "h0", "h1", "h2", "h3"]


def here(monkeypatch, capsys, *arguments):
    """The same in this process, for it takes a second to start another."""
    monkeypatch.setattr(sys, "argv", ["balancer", "import", "haproxy", *map(str, arguments)])
    code = main()
    return code, *capsys.readouterr()


def run(*arguments, **variables):
    command = [sys.executable, "-m", "balancer", "import", "haproxy", *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "haproxy.cfg"
    file.write_text(BASE + '  server b "${ADDRESS}":80 id 9\n  compression algo gzip\n  option redispatch\n')
    return file


def test_to_a_file(source, tmp_path, monkeypatch, capsys):
    made = tmp_path / "balancer.toml"
    done = run(source, "-o", made, ADDRESS="192.0.2.2")
    assert done.returncode == 4
    summary = "7 directives carried over, 0 changed, 1 left out with effect on traffic, 0 left out without"
    remark = f"{source}:10: compression: compresses answers: let the backends compress"
    first, second, last = done.stderr.splitlines()
    assert (first, second) == (summary, remark)
    assert last.startswith(f"{made}:14: ")
    assert "> forwarded: warning: hosts get whatever X-Forwarded-* any client claims" in last
    assert done.stdout == f"{made}: balancer check finds no problems\n"
    backends = load(made, 0.0).pool[0].backend
    assert [(each.name, str(each.address), each.id) for each in backends] == [
        ("a", "192.0.2.1:80", 1),
        ("b", "192.0.2.2:80", 9),
    ]
    assert made.read_text().splitlines()[-2].startswith(f"# {source}:10: compression: compresses answers: ")

    monkeypatch.setenv("ADDRESS", "192.0.2.3")
    code, out, errors = here(monkeypatch, capsys, source, "-o", made)
    assert (code, out) == (1, "")
    assert errors.endswith(f"cannot write {made}: File exists\n")
    assert "192.0.2.2" in made.read_text()


def test_to_standard_output(source, monkeypatch, capsys):
    monkeypatch.setenv("ADDRESS", "192.0.2.2")
    code, out, _ = here(monkeypatch, capsys, source)
    assert code == 4
    assert 'address = "192.0.2.2:80"' in out


def test_for_programs(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADDRESS", "192.0.2.2")
    code, out, errors = here(monkeypatch, capsys, source, "-o", tmp_path / "made.toml", "--json")
    found = json.loads(out)
    assert (code, errors.count("\n"), "> forwarded: warning: " in errors) == (4, 1, True)
    assert {key: value for key, value in found.items() if key != "remarks"} == {
        "complete": False,
        "carried_over": 7,
        "access": 0,
        "traffic": 1,
        "changed": 0,
        "none": 0,
    }
    assert [(each["line"], each["what"], each["effect"]) for each in found["remarks"]] == [
        (10, "compression", "traffic"),
    ]


def test_nothing_left_out_is_0(source, tmp_path, monkeypatch, capsys):
    source.write_text(BASE + "  option redispatch\n  log-format x\n")
    assert here(monkeypatch, capsys, source)[0] == 0


def test_bad_input(source, tmp_path, monkeypatch, capsys):
    source.write_text(BASE + "  server b 192.0.2.2:80 wieght 3\n")
    code, out, errors = here(monkeypatch, capsys, source, "-o", tmp_path / "balancer.toml")
    assert (code, out) == (1, "")
    problem = f'{source}:9: server b: "wieght" is not an option of server; did you mean "weight"?'
    assert errors == f"{problem}\n1 problem: see above; nothing was written\n"
    assert not (tmp_path / "balancer.toml").exists()


def test_what_check_finds_is_said(source, tmp_path, monkeypatch, capsys):
    source.write_text(BASE.replace(":80\n", ":443 ssl crt none.pem\n", 1))
    code, out, errors = here(monkeypatch, capsys, source, "-o", tmp_path / "balancer.toml")
    assert code == 1
    assert out.endswith("balancer check finds 2 problems: see above\n")
    assert "none.pem" in errors


USERS = TOKENS[:500]
RUNNING = """\
global
  maxconn 200
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 2s
frontend www
  bind 127.0.0.1:@front
  use_backend mapped if { path_beg /m/ }
  use_backend headers if { hdr(host) -i headers.example }
  default_backend ring
backend ring
  balance url_param token
  hash-type consistent
  default-server check inter 100ms fall 1 rise 1
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
  server c 127.0.0.1:@h2 weight 30
  server d 127.0.0.1:@h3 weight 10
backend mapped
  balance url_param token
  server a 127.0.0.1:@h0 weight 2
  server b 127.0.0.1:@h1 weight 3
  server c 127.0.0.1:@h2
  server d 127.0.0.1:@h3 weight 2 check inter 100ms fall 1 rise 1
backend headers
  balance hdr(X-User)
  hash-type consistent crc32
  server a 127.0.0.1:@h0
  server b 127.0.0.1:@h1 id 90
"""


def journey(front, ports):
    """Where 500 users of each backend are."""
    targets = [f"/?token={token}" for token in USERS]
    headers = iter(USERS)
    found = ask(front, targets) + ask(front, [f"/m{target}" for target in targets])
    found += ask(front, ["/"] * len(USERS), headers=lambda _: f"Host: headers.example\r\nX-User: {next(headers)}\r\n")
    return [ports.names[port] for port in found]


class Ours:
    """``balancer --config FILE``, a context manager; it accepts inside."""

    def __init__(self, file):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "balancer", "--config", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=end_with_parent,
        )
        self._errors = Output(self._process.stderr)

    def __enter__(self):
        self._errors.wait_for(ACCEPTS.search)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        assert self._process.wait(PATIENCE) == 0
        self._errors.join()


@needs_haproxy
def test_the_switch_moves_nobody(tmp_path, monkeypatch, capsys):
    """haproxy, then the daemon on the same address with the same hosts; one of them is down."""
    ports = Ports(NAMES)
    source, made = tmp_path / "haproxy.cfg", tmp_path / "balancer.toml"
    source.write_text(ports.fill(RUNNING))
    assert here(monkeypatch, capsys, source, "-o", made)[0] == 0
    text = made.read_text().replace("/var/lib/balancer", str(tmp_path / "state"))
    text = text.replace("/run/balancer/admin.sock", str(tmp_path / "admin.sock"))
    made.write_text(text.replace("127.0.0.1:9600", ports.fill("127.0.0.1:@admin")))
    with hosts(tmp_path / "hosts", ports, ["h0", "h1", "h2"]):
        with Haproxy(tmp_path, [source], ports["front"]) as running:
            while running.command("show stat").count("L4CON") < 2:
                time.sleep(0.02)  # it has no way to tell
            theirs = journey(ports["front"], ports)
        ports.release("front", "admin")
        with Ours(made):
            sample = [f"/m/?token={token}" for token in USERS[:40]]
            end = time.monotonic() + PATIENCE
            while [ports.names[port] for port in ask(ports["front"], sample)] != theirs[len(USERS) :][:40]:
                assert time.monotonic() < end, "the map is not made anew"
            ours = journey(ports["front"], ports)
    ports.close()
    assert set(theirs) == {"h0", "h1", "h2"}
    assert ours == theirs
