"""Nobody moves: configurations of many kinds, each run by a real haproxy and imported, 2,000 users compared."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from haproxy_rig import TOKENS, Authority, Haproxy, Ports, ask, hosts, needs_haproxy, trusting

from balancer.config.load import load
from balancer.config.plain import token_settings
from balancer.http.token import from_operator
from balancer.migrate.haproxy.importer import import_haproxy
from balancer.migrate.outcome import Surroundings
from balancer.ring.build import build

pytestmark = needs_haproxy
HOSTS = [f"h{n}" for n in range(24)]
HEAD = """\
global
  maxconn 500
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 2s
"""


@dataclass
class Case:
    """A configuration; hosts stand as ``@h0``, the address asked as ``@front``."""

    text: str
    target: str = "/?token={}"
    header: str = ""
    """Sent along, with the token in it."""
    pool: str = "ide"
    environment: dict[str, str] = field(default_factory=dict)
    tls: bool = False


CASES = {
    "as in most tutorials": Case(
        HEAD
        + """
frontend www
  bind 127.0.0.1:@front
  default_backend ide
backend ide
  balance url_param token
  hash-type consistent
  server s0 127.0.0.1:@h0 check
  server s1 127.0.0.1:@h1 check
  server s2 127.0.0.1:@h2 check
"""
    ),
    "no hash-type, weights": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance url_param userid
  server a 127.0.0.1:@h0 weight 10
  server b 127.0.0.1:@h1 weight 20
  server c 127.0.0.1:@h2 weight 5
  server d 127.0.0.1:@h3 weight 1
""",
        target="/page?x=1&userid={}&userid=other",
    ),
    "ids from_operator, out of order, and left out": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance url_param token
  hash-type consistent djb2 avalanche
  server a 127.0.0.1:@h0 id 7 weight 30
  server b 127.0.0.1:@h1
  server c 127.0.0.1:@h2 id 2 weight 50
  server d 127.0.0.1:@h3 weight 0
  server e 127.0.0.1:@h4
"""
    ),
    "named defaults, one from the other": Case(
        HEAD.replace("defaults", "defaults basic")
        + """
defaults placed from basic
  balance url_param token
  hash-type consistent crc32
  default-server weight 40
defaults
  mode tcp
frontend www from basic
  bind 127.0.0.1:@front
  default_backend ide
backend ide from placed
  default-server weight 25
  server a 127.0.0.1:@h0
  server b 127.0.0.1:@h1 weight 100
  default-server inter 10s
  server c 127.0.0.1:@h2
"""
    ),
    "variables, quotes and conditions": Case(
        """\
global
  setenv HOST 127.0.0.1
  presetenv HASH "wt6 avalanche"
"""
        + HEAD
        + """
.if defined(BIG) && !streq("$SIZE",small)
backend other
  server x 127.0.0.1:1
.else
backend ide
  balance url_param 'token' # "not a word
  hash-type map-based "${HASH[*]}"
  server "a" "${HOST}:@h0" weight ${NOT_REPLACED-3}
  server b\\x31 "$HOST:@h1" weight 3
  server c "${NOWHERE-127.0.0.1}":@h2 weight 2
.endif
frontend 'www'
  bind "$HOST":@front
  default_backend ide
""".replace("${NOT_REPLACED-3}", '"${NOT_SET-3}"'),
        environment={"BIG": "1", "SIZE": "small"},
    ),
    "backups and switched off servers": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance url_param token
  hash-type consistent sdbm
  option allbackups
  server a 127.0.0.1:@h0 weight 12 backup
  server b 127.0.0.1:@h1 weight 12
  server c 127.0.0.1:@h2 weight 24 disabled
  server d 127.0.0.1:@h3 weight 36
  server e 127.0.0.1:@h4 weight 6
"""
    ),
    "map-based, one switched off": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance url_param token
  hash-type map-based djb2
  server a 127.0.0.1:@h0 weight 12
  server b 127.0.0.1:@h1 weight 8
  server c 127.0.0.1:@h2 weight 3 disabled
  server d 127.0.0.1:@h3 weight 20
"""
    ),
    "by a header": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance hdr(X-User)
  hash-type consistent wt6
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
""",
        target="/",
        header="x-user: {}\r\n",
    ),
    "by the path": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance uri depth 2
  hash-type consistent
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
  server c 127.0.0.1:@h2 weight 30
""",
        target="/u/{}/file?x=1",
    ),
    "by path and query": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance uri whole len 24
  hash-type map-based crc32 avalanche
  server a 127.0.0.1:@h0
  server b 127.0.0.1:@h1
  server c 127.0.0.1:@h2
""",
        target="/x?u={}",
    ),
    "by a sample of a header": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance hash req.hdr(X-User)
  hash-type consistent
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
""",
        target="/",
        header="x-user: other\r\nx-user: another, {}\r\n",
    ),
    "by a cookie": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance hash req.cook(sid)
  hash-type consistent
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
""",
        target="/",
        header="cookie: sid=old; lang=en; sid={}\r\n",
    ),
    "by a sample of the path": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance hash path
  hash-type consistent
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
""",
        target="/u/{}?x=1",
    ),
    "by a sample of the query": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance hash url_param(token)
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
""",
        target="/u?x=1&token={}",
    ),
    "bounded load": Case(
        HEAD
        + """
listen ide
  bind 127.0.0.1:@front
  balance url_param token
  hash-type consistent
  hash-balance-factor 150
  server a 127.0.0.1:@h0 weight 128
  server b 127.0.0.1:@h1 weight 128
  server c 127.0.0.1:@h2 weight 256
"""
    ),
    "TLS, and clear text sent there": Case(
        HEAD
        + """
frontend www
  bind 127.0.0.1:@plain
  bind 127.0.0.1:@front ssl crt @@/site.pem alpn h2,http/1.1
  http-request redirect scheme https code 301 unless { ssl_fc }
  http-request set-header X-Forwarded-Proto https
  default_backend ide
backend ide
  balance url_param token
  hash-type consistent
  option httpchk GET /health HTTP/1.1\\r\\nHost:\\ ide
  option forwardfor
  default-server check inter 5s fall 3 rise 2 weight 16
  server-template only 1 127.0.0.1:@h0
  server two 127.0.0.1:@h1
  server three 127.0.0.1:@h2 id 40
""",
        tls=True,
    ),
    "many servers": Case(
        HEAD
        + "listen ide\n  bind 127.0.0.1:@front\n  balance url_param token\n  hash-type consistent\n"
        + "".join(f"  server host-{n:02} 127.0.0.1:@h{n} weight {40 + n}\n" for n in range(24))
    ),
    "by host and path": Case(
        HEAD
        + """
frontend www
  bind 127.0.0.1:@front
  acl docs path_beg -m beg /docs/
  acl ide_host hdr(host) -i ide.example
  acl ide_host hdr_end(host) -i .ide.example
  use_backend docs if docs
  use_backend ide if ide_host !{ always_false } || { path /never }
  use_backend ide if ide_host
  default_backend docs
backend docs
  balance url_param token
  server d 127.0.0.1:@h9
backend ide
  balance url_param token
  hash-type consistent
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
"""
    ),
}


@pytest.fixture(scope="module")
def ports():
    ports = Ports(["front", "plain", *HOSTS])
    yield ports
    ports.close()


@pytest.fixture(scope="module", autouse=True)
def answering(tmp_path_factory, ports):
    with hosts(tmp_path_factory.mktemp("run") / "hosts", ports, HOSTS) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    files = Authority(folder).issue("ide.example").values()
    (folder / "site.pem").write_bytes(b"".join(Path(file).read_bytes() for file in files))
    return folder


def prepared(case, folder, ports, certificate):
    file = folder / "haproxy.cfg"
    file.write_text(ports.fill(case.text.replace("@@", str(certificate))))
    return file


def imported(file, case, folder):
    """The pool as it comes out of the import, through a file that passes the check."""
    outcome = import_haproxy([file], Surroundings(case.environment, lambda name: []))
    result = folder / f"{file.stem}.toml"
    result.write_text(outcome.text)
    return load(result, time.time())


def placed(case, front, ports):
    """Where haproxy has each token, as a host's name in ``ports``."""
    targets = [case.target.format(token) for token in TOKENS]
    tokens = dict(zip(targets, TOKENS, strict=True)) if not case.header else None
    if case.header:
        rest = iter(TOKENS)
        found = ask(front, targets, headers=lambda _: case.header.format(next(rest)))
    else:
        assert tokens
        found = ask(front, targets, tls=trusting() if case.tls else None)
    return [ports.names[port] for port in found]


def ours(pool, case, ports, without=(), weights=None):
    ring = build(pool, weights)
    names = {backend.name: ports.names[backend.address.port] for backend in pool.backend}
    texts = [case.target.format(token) if pool.token.source in ("path", "uri") else token for token in TOKENS]
    keys = [from_operator(text.encode(), token_settings(pool)) for text in texts]
    return [next(host for name in ring.order(key) if (host := names[name]) not in without) for key in keys]


@pytest.mark.parametrize("name", CASES)
def test_nobody_moves(name, tmp_path, ports, certificate):
    case = CASES[name]
    file = prepared(case, tmp_path, ports, certificate)
    pool = next(pool for pool in imported(file, case, tmp_path).pool if pool.name == case.pool)
    with Haproxy(tmp_path, [file], ports["front"], case.environment):
        theirs = placed(case, ports["front"], ports)
    assert len(set(theirs)) > 1
    assert ours(pool, case, ports) == theirs


def test_by_the_clients_address(tmp_path, ports):
    text = (
        HEAD
        + """
frontend www
  bind 127.0.0.1:@front accept-proxy
  default_backend ide
backend ide
  balance source
  hash-type consistent
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 30
  server c 127.0.0.1:@h2 weight 30
"""
    )
    file = prepared(Case(text), tmp_path, ports, "")
    config = imported(file, Case(text), tmp_path)
    assert config.listener[0].proxy_protocol == "accept"
    pool = config.pool[0]
    clients = [f"10.{n % 250}.{n // 250}.{n * 37 % 251}" for n in range(1900)]
    clients += [f"2001:db8::{n:x}:{n * 7:x}" for n in range(100)]
    headers = [f"PROXY TCP{6 if ':' in client else 4} {client} {client} 1 2\r\n".encode() for client in clients]
    with Haproxy(tmp_path, [file], ports["front"]):
        theirs = [ports.names[ask(ports["front"], ["/"], preface=header)[0]] for header in headers]
    ring = build(pool)
    names = {backend.name: ports.names[backend.address.port] for backend in pool.backend}
    assert [names[ring.owner(from_operator(client.encode(), token_settings(pool)))] for client in clients] == theirs


FARM = """
listen ide
  bind 127.0.0.1:@front
  balance url_param token
  hash-type consistent
  server a 127.0.0.1:@h0 weight 20
  server b 127.0.0.1:@h1 weight 10
  server c 127.0.0.1:@h2 weight 30
  server d 127.0.0.1:@h3 weight 25
  server e 127.0.0.1:@h4 backup
"""
MAPPED = FARM.replace("hash-type consistent", "hash-type map-based crc32")


@pytest.mark.parametrize("text", [FARM, MAPPED], ids=["consistent", "map-based"])
def test_nobody_moves_while_servers_are_away(text, tmp_path, ports):
    """haproxy makes its map anew then, and moves everybody; ours does if the servers leave it by their weight."""
    case = Case(HEAD + text)
    file = prepared(case, tmp_path, ports, "")
    pool = imported(file, case, tmp_path).pool[0]
    with Haproxy(tmp_path, [file], ports["front"]) as running:
        for away in (["b"], ["a", "b", "d"], ["c", "d"]):
            for name in "abcd":
                running.command(f"set server ide/{name} state {'maint' if name in away else 'ready'}")
            theirs = placed(case, ports["front"], ports)
            assert ours(pool, case, ports, weights=dict.fromkeys(away, 0.0)) == theirs
            if text == FARM:
                assert ours(pool, case, ports, without=[f"h{'abcd'.index(name)}" for name in away]) == theirs
        for name in "abcd":
            running.command(f"set server ide/{name} state maint")
        assert {ports.names[port] for port in ask(ports["front"], ["/?token=x", "/?token=y", "/"])} == {"h4"}
    assert [backend.name for backend in pool.backend if backend.backup] == ["e"]


def test_nobody_moves_otherwise_when_weights_change(tmp_path, ports):
    case = Case(HEAD + FARM)
    file = prepared(case, tmp_path, ports, "")
    pool = imported(file, case, tmp_path).pool[0]
    weights = {"a": 20.0, "b": 10.0, "c": 30.0, "d": 25.0}
    with Haproxy(tmp_path, [file], ports["front"]) as running:
        for name, weight in (("a", 40), ("b", 1), ("d", 0)):
            weights[name] = float(weight)
            running.command(f"set weight ide/{name} {weight}")
            assert ours(pool, case, ports, weights=weights) == placed(case, ports["front"], ports)


def test_a_server_added_in_front_moves_nobody_between_the_others(tmp_path, ports):
    """The ids that haproxy counted are written out, so ours do not change with the file; haproxy's would."""
    case = Case(HEAD + FARM)
    before = imported(prepared(case, tmp_path, ports, ""), case, tmp_path).pool[0]
    added = case.text.replace("  server a ", "  server new 127.0.0.1:@h5 id 50 weight 20\n  server a ")
    for number, name in enumerate("abcde", 1):
        added = added.replace(f"  server {name} ", f"  server {name} ").replace(
            f"@h{number - 1} ", f"@h{number - 1} id {number} "
        )
    wider = Case(added)
    file = prepared(wider, tmp_path, ports, "")
    after = imported(file, wider, tmp_path).pool[0]
    assert [(each.name, each.id) for each in after.backend] == [
        ("new", 50),
        *((each.name, each.id) for each in before.backend),
    ]
    with Haproxy(tmp_path, [file], ports["front"]):
        theirs = placed(wider, ports["front"], ports)
    assert ours(after, wider, ports) == theirs
    moved = [now for then, now in zip(ours(before, case, ports), theirs, strict=True) if then != now]
    assert set(moved) == {"h5"}
