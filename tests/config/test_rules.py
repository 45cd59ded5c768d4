"""Every rule between keys: a file that keeps it, and one change that breaks it, with the line that is blamed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.load import check
from balancer.ring.build import build

BASE = """\
[admin]
listen = "127.0.0.1:9600"
[[listener]]
name = "ide"
bind = ["127.0.0.1:443", "[::1]:443"]
pool = "ide"
[[listener]]
name = "raw"
bind = ["127.0.0.1:444"]
pool = "ide"
mode = "tcp"
key = "sni"
[[pool]]
name = "ide"
[pool.ring]
algorithm = "ring"
[[pool.backend]]
name = "ide-01"
address = "10.0.0.1:4001"
weight = 2
[[pool.backend]]
name = "ide-02"
address = "10.0.0.2:4001"
weight = 3
"""


def ring(*keys):
    return 'algorithm = "ring"', "; ".join(keys).replace("; ", "\n")


def algorithm(name, *keys):
    return ring(f'algorithm = "{name}"', *keys)


def token(*keys):
    return "[pool.ring]", "\n".join(["[pool.token]", *keys, "[pool.ring]"])


def tls(*keys):
    return "[[pool.backend]]", "\n".join(["[pool.tls]", *keys, "[[pool.backend]]"])


def route(*keys, of="raw"):
    """A route of the listener, whose pool is the only one."""
    after = {"ide": '[[listener]]\nname = "raw"', "raw": "[[pool]]"}[of]
    return after, "\n".join(["[[listener.route]]", 'pool = "ide"', *keys, after])


def health(*keys):
    return "[[pool.backend]]", "\n".join(["[pool.health]", *keys, "[[pool.backend]]"])


BROKEN = {
    "unknown pool, close": (
        [('pool = "ide"', 'pool = "idee"')],
        '6: listener "ide" > pool: no pool is named "idee"; did you mean "ide"?',
    ),
    "unknown pool": (
        [('pool = "ide"', 'pool = "zz"')],
        '6: listener "ide" > pool: no pool is named "zz"; existing pools: "ide"',
    ),
    "two listeners of one name": (
        [('name = "raw"', 'name = "ide"')],
        '8: listener "ide" > name: "ide" is already used; it must be unique (see line 4)',
    ),
    "two pools of one name": (
        [("[[pool]]", '[[pool]]\nname = "ide"\nbackend = [{ name = "b", address = "10.0.0.9:1" }]\n[[pool]]')],
        '17: pool "ide" > name: "ide" is already used; it must be unique (see line 14)',
    ),
    "two backends of one name": (
        [('"ide-02"', '"ide-01"')],
        '22: pool "ide" > backend "ide-01" > name: "ide-01" is already used; it must be unique (see line 18)',
    ),
    "two backends of one address, whose points are the same": (
        [algorithm("nginx"), ("10.0.0.2", "10.0.0.1")],
        '23: pool "ide" > backend "ide-02" > address: must differ from the other backends\': this algorithm computes '
        "points from address (see line 19)",
    ),
    "one bind twice": (
        [("1:444", "1:443")],
        '9: listener "raw" > bind #1: 127.0.0.1:443 is already bound (see line 5)',
    ),
    "one bind twice in other spelling": (
        [("127.0.0.1:444", "[0:0::1]:443")],
        '9: listener "raw" > bind #1: [::1]:443 is already bound (see line 5)',
    ),
    "a wildcard over an address": (
        [("127.0.0.1:444", "0.0.0.0:443")],
        '9: listener "raw" > bind #1: 0.0.0.0:443 is already bound (see line 5)',
    ),
    "a listener on the admin's address": (
        [("1:444", "1:9600")],
        '9: listener "raw" > bind #1: 127.0.0.1:9600 is already bound (see line 2)',
    ),
    "a listener on a Unix socket": (
        [('"127.0.0.1:444"', '"unix:/run/x"')],
        '9: listener "raw" > bind #1: expected an IP address and a port, not "unix:/run/x": clients come over TCP',
    ),
    "admin.listen on a Unix socket": (
        [("127.0.0.1:9600", "unix:/run/x")],
        '2: admin > listen: expected an IP address and a port, not "unix:/run/x": admin.socket is for Unix sockets',
    ),
    "admin open to the network": (
        [("127.0.0.1:9600", "0.0.0.0:9600")],
        "2: admin > listen: would answer anyone who can reach it: set admin.token_file, or listen on 127.0.0.1",
    ),
    "PROXY headers from anybody": (
        [('key = "sni"', 'proxy_protocol = "accept"')],
        '12: listener "raw" > proxy_protocol: any client could claim any address: list the proxies in front, '
        'such as trusted = ["10.0.0.0/8"]',
    ),
    "sni in http mode": (
        [('mode = "tcp"', 'mode = "http"')],
        '12: listener "raw" > key: needs mode = "tcp"; in mode "http" the token is the key',
    ),
    "a field that frames messages": (
        [("[pool.ring]", "request_fields = { remove = ['Transfer_Encoding'] }\n[pool.ring]")],
        '15: pool "ide" > request_fields > remove: Transfer_Encoding is written by the daemon itself: it frames, '
        "routes or explains the message",
    ),
    "a fact that is none": (
        [("[pool.ring]", "[pool.response_fields]\nset = { X-A = '{client_adress}' }\n[pool.ring]")],
        '16: pool "ide" > response_fields > set > X-A: "{client_adress}" is not a fact; did you mean {client_address}?',
    ),
    "a fact of a field without its name": (
        [("[pool.ring]", "[pool.response_fields]\nadd.Vary = ['A', '{header}']\n[pool.ring]")],
        '16: pool "ide" > response_fields > add > Vary: "{header}": only header has a name, and it needs one, such as '
        "{header:User-Agent}",
    ),
    "a fact that is a secret": (
        [("[pool.ring]", "[pool.response_fields]\nset.A = '{header:X_Balancer-Trace}'\n[pool.ring]")],
        '16: pool "ide" > response_fields > set > A: "{header:X_Balancer-Trace}" may be a secret of the daemon',
    ),
    "all weights zero": (
        [("weight = 2", "weight = 0"), ("weight = 3", "weight = 0.0")],
        '20: pool "ide" > backend "ide-01" > weight: every backend has weight 0: at least one must be above 0',
    ),
    "a backend without a port": (
        [("10.0.0.1:4001", "10.0.0.1:0")],
        '19: pool "ide" > backend "ide-01" > address: a backend needs a port above 0',
    ),
    "a key of haproxy": (
        [ring('function = "sdbm"')],
        '16: pool "ide" > ring > function: belongs to algorithm = "haproxy", not "ring"; remove it',
    ),
    "probes without a pause": (
        [health('interval = "99ms"')],
        '18: pool "ide" > health > interval: must be at least 100ms',
    ),
    "a fast interval that is none": (
        [health('fast_interval = "3s"')],
        '18: pool "ide" > health > fast_interval: must be at most interval: '
        "it speeds up probes while the state is in doubt",
    ),
    "a body of HEAD": (
        [health('type = "http"', 'method = "HEAD"', 'expect_body = "ok"')],
        '20: pool "ide" > health > expect_body: a response to HEAD has no body: use GET, or remove expect_body',
    ),
    "authorities that are not there": (
        [health('type = "tls"', "[pool.health.tls]", 'ca_file = "/none"')],
        '20: pool "ide" > health > tls > ca_file: "/none" cannot be read: No such file or directory',
    ),
    "authorities that are none": (
        [health('type = "tls"', "[pool.health.tls]", 'ca_file = "/dev/null"')],
        '20: pool "ide" > health > tls > ca_file: "/dev/null" has no PEM certificate, '
        'a block that starts with "-----BEGIN CERTIFICATE-----"',
    ),
    "probes of port 0": (
        [("weight = 2", 'check_address = "10.0.0.1:0"')],
        '20: pool "ide" > backend "ide-01" > check_address: a backend needs a port above 0',
    ),
    "TLS to nobody": (
        [health('type = "tls"'), ("10.0.0.1:4001", "unix:/s")],
        '21: pool "ide" > backend "ide-01" > address: a Unix socket has no name to verify in the certificate: '
        "set pool.health.tls.server_name",
    ),
    "an agent on a Unix socket": (
        [health('type = "tcp"', "agent = { port = 1 }"), ("10.0.0.1:4001", "unix:/s")],
        '22: pool "ide" > backend "ide-01" > address: a Unix socket has no port for an agent: remove pool.health.agent',
    ),
    "a key of the ring": (
        [algorithm("nginx", "points = 160")],
        '17: pool "ide" > ring > points: belongs to algorithm = "ring", not "nginx"; remove it',
    ),
    "a key of several": (
        [algorithm("ketama", 'hash = "md5"')],
        '17: pool "ide" > ring > hash: belongs to algorithm = "ring" or "maglev" or "rendezvous", '
        'not "ketama"; remove it',
    ),
    "rehomed from nowhere": (
        [ring('algorithm = "ring"', "rehomed = 0.5")],
        '17: pool "ide" > ring > rehomed: needs the previous ring: set before = { algorithm = ... }, or remove rehomed',
    ),
    "a key of another algorithm in the ring before": (
        [ring('algorithm = "ring"', 'before = { algorithm = "nginx", points = 9 }')],
        '17: pool "ide" > ring > before > points: belongs to algorithm = "ring", not "nginx"; remove it',
    ),
    "a bounded load on the ring before": (
        [ring('algorithm = "ring"', 'before = { algorithm = "haproxy", hash_balance_factor = 150 }')],
        '17: pool "ide" > ring > before > hash_balance_factor: the load is not bounded on the previous ring: remove it',
    ),
    "a weight that the ring before does not have": (
        [ring('algorithm = "ring"', 'before = { algorithm = "haproxy" }'), ("weight = 3", "weight = 0.5")],
        '25: pool "ide" > backend "ide-02" > weight: haproxy\'s weights are whole numbers from 0 to 256, not 0.5',
    ),
    "so little patience that busy processes are killed": (
        [("[admin]", '[timeouts]\nhang = "500ms"\n[admin]')],
        "2: timeouts > hang: must be at least 1s: heartbeats come every 250 ms, and a busy process is late",
    ),
    "blake2b without seed": (
        [ring('hash = "blake2b"')],
        '16: pool "ide" > ring > hash: blake2b is a keyed hash: set seed, for example to the output of `openssl '
        "rand -hex 16`",
    ),
    "a seed for md5": (
        [ring('seed = "0123456789abcdef"')],
        '16: pool "ide" > ring > seed: has no effect without hash = "blake2b"',
    ),
    "a bound below the mean": (
        [ring("bound = 0.9")],
        '16: pool "ide" > ring > bound: must be 0 (off) or at least 1, not 0.9; 1.25 allows 125 % of the mean',
    ),
    "a balance factor below the mean": (
        [algorithm("haproxy", "hash_balance_factor = 100")],
        '17: pool "ide" > ring > hash_balance_factor: must be 0 (off) or more than 100 (percent of the mean), not 100',
    ),
    "two bounds": (
        [algorithm("haproxy", "hash_balance_factor = 150", "bound = 1.5")],
        '18: pool "ide" > ring > bound: hash_balance_factor bounds the load already: keep only that, to place as '
        "haproxy does, or only bound",
    ),
    "one haproxy id twice": (
        [algorithm("haproxy"), ("weight = 2", "id = 7"), ("weight = 3", "id = 7")],
        '24: pool "ide" > backend "ide-02" > id: 7 is already used; it must be unique (see line 20)',
    ),
    "haproxy ids 2^20 apart": (
        [
            algorithm("haproxy", 'hash_type = "consistent"'),
            ("weight = 2", "id = 7"),
            ("weight = 3", f"id = {7 + 2**20}"),
        ],
        '25: pool "ide" > backend "ide-02" > id: must differ from the other backends\': this algorithm computes '
        "points from id (see line 21)",
    ),
    "one haproxy address, two ports": (
        [algorithm("haproxy", 'hash_type = "consistent"', 'hash_key = "addr"'), ("10.0.0.2:4001", "10.0.0.1:4002")],
        '25: pool "ide" > backend "ide-02" > address: must differ from the other backends\': this algorithm '
        "computes points from address (see line 21)",
    ),
    "one guid twice": (
        [
            algorithm("haproxy", 'hash_type = "consistent"', 'hash_key = "guid"'),
            ("weight = 2", 'guid = "x"'),
            ("weight = 3", 'guid = "x"'),
        ],
        '26: pool "ide" > backend "ide-02" > guid: must differ from the other backends\': this algorithm computes '
        "points from guid (see line 22)",
    ),
    "one nginx server twice": (
        [algorithm("nginx"), ("10.0.0.1:4001", '10.0.0.1:4001"\nserver = "a:1'), ("weight = 3", 'server = "a:1"')],
        '25: pool "ide" > backend "ide-02" > server: must differ from the other backends\': this algorithm '
        "computes points from server (see line 20)",
    ),
    "no guid": (
        [algorithm("haproxy", 'hash_key = "guid"'), ("weight = 2", 'guid = "x"')],
        '22: pool "ide" > backend "ide-02" > guid: missing: with hash_key = "guid" every backend needs a guid',
    ),
    "half a haproxy weight": (
        [algorithm("haproxy"), ("weight = 2", "weight = 0.5")],
        '20: pool "ide" > backend "ide-01" > weight: haproxy\'s weights are whole numbers from 0 to 256, not 0.5',
    ),
    "nginx without weight": (
        [algorithm("nginx"), ("weight = 2", "weight = 0")],
        '20: pool "ide" > backend "ide-01" > weight: nginx\'s weights are whole numbers from 1, not 0.0',
    ),
    "half an nginx weight": (
        [algorithm("nginx"), ("weight = 2", "weight = 1.5")],
        '20: pool "ide" > backend "ide-01" > weight: nginx\'s weights are whole numbers from 1, not 1.5',
    ),
    "a table that is no prime": (
        [algorithm("maglev", "table_size = 65536")],
        '17: pool "ide" > ring > table_size: 65536 is not a prime number; 65537 is',
    ),
    "a small table": (
        [algorithm("maglev", "table_size = 199")],
        '17: pool "ide" > ring > table_size: 2 backends need at least 200 entries, such as 211: with fewer than '
        "100 each, shares differ by more than 1 % (Maglev, NSDI 2016, 5.3)",
    ),
}

BROKEN |= {
    "a route to nowhere": (
        [route('sni = ["a"]'), ('pool = "ide"\nsni', 'pool = "idea"\nsni')],
        '14: listener "raw" > route #1 > pool: no pool is named "idea"; did you mean "ide"?',
    ),
    "a route for everything": (
        [route(of="ide")],
        '7: listener "ide" > route #1: matches everything: add host, path, path_prefix or sni',
    ),
    "a path where no request is read": (
        [route('path = ["/a"]')],
        '15: listener "raw" > route #1 > path: mode "tcp" does not read requests: routes can only use sni',
    ),
    "SNI without TLS": (
        [route('sni = ["a"]', of="ide")],
        '9: listener "ide" > route #1 > sni: needs TLS: add a tls table to the listener, or use host',
    ),
    "a route by half a host": (
        [route('host = ["*.a.*"]', of="ide")],
        '9: listener "ide" > route #1 > host #1: expected a host such as "ide.example" or "*.ide.example", not "*.a.*"',
    ),
    "a route by a query": (
        [route('path = ["/a?b"]', of="ide")],
        '9: listener "ide" > route #1 > path #1: expected a path such as "/api/", without spaces, ? and #, not "/a?b"',
    ),
    "a header without a name": (
        [token('source = "header"')],
        '15: pool "ide" > token > header: missing: source = "header" needs the name of the header',
    ),
    "a header that ends here": (
        [token('source = "header"', 'header = "Content-Length"')],
        '17: pool "ide" > token > header: describes the connection, not the user: use another header',
    ),
    "a name that is no header": (
        [token('source = "header"', 'header = "X User"')],
        '17: pool "ide" > token > header: expected the name of a header field, such as "X-User", not "X User"',
    ),
    "a certificate without key": (
        [tls("enabled = true", 'cert = "/c"')],
        '19: pool "ide" > tls > cert: cert and key belong together: set key as well',
    ),
    "authorities of backends that are not there": (
        [tls("enabled = true", 'ca_file = "/none"')],
        '19: pool "ide" > tls > ca_file: "/none" cannot be read: No such file or directory',
    ),
    "TLS to a socket of no name": (
        [tls("enabled = true"), ("10.0.0.1:4001", "unix:/s")],
        '21: pool "ide" > backend "ide-01" > address: a Unix socket has no name to verify in the certificate: '
        "set server_name of the backend",
    ),
    "backups alone": (
        [("weight = 2", "backup = true"), ("weight = 3", "backup = true")],
        '20: pool "ide" > backend "ide-01" > backup: every backend is a backup: at least one must be on the ring',
    ),
    "weights for backups alone": (
        [("weight = 2", "weight = 0"), ("weight = 3", "backup = true")],
        '20: pool "ide" > backend "ide-01" > weight: every backend has weight 0: at least one must be above 0',
    ),
    "one backend probed without a pause": (
        [health('type = "tcp"'), ("weight = 2", 'health = { interval = "99ms" }')],
        '22: pool "ide" > backend "ide-01" > health > interval: must be at least 100ms',
    ),
}

BROKEN |= {
    "a longest time out below the first": [
        [health('max_ejection_time = "20s"')],
        '18: pool "ide" > health > max_ejection_time: must be at least ejection_time',
    ],
    "no failures": [
        [health('passive = { mode = "on", outcomes = [] }')],
        '18: pool "ide" > health > passive > outcomes: nothing counts as a failure: list some, or set mode = "off"',
    ],
    "nothing would be ejected": [
        [health('passive = { mode = "dry_run", consecutive = 0, failure_rate = 0.0 }')],
        '18: pool "ide" > health > passive > consecutive: nothing would be ejected, as failure_rate is 0 too: '
        'set one of them, or mode = "off"',
    ],
}

SUSPICIOUS = {
    "a tier with the hash that others have by default": (
        [('name = "ide"\n[pool.ring]', 'name = "ide"\ntier = true\n[pool.ring]')],
        '16: pool "ide" > ring > hash: balancers that place by the same hash get the tokens of one part of their '
        'rings only: set hash = "blake2b" and a seed of its own',
    ),
    "a tier with the seed of another pool": (
        [
            ring('hash = "blake2b"', 'seed = "0123456789abcdef"'),
            (
                "[[listener]]",
                '[[listener]]\nname = "up"\nbind = ["127.0.0.1:9"]\npool = "up"\n[[pool]]\nname = "up"\ntier = true\n'
                'ring = { hash = "blake2b", seed = "0123456789abcdef" }\n'
                'backend = [{ name = "eu", address = "10.0.0.9:1" }]\n[[listener]]',
            ),
        ],
        '10: pool "up" > ring > seed: another tier has the same: give each a seed of its own (see line 26)',
    ),
    "two backends of one address": (
        [("10.0.0.2", "10.0.0.1")],
        '23: pool "ide" > backend "ide-02" > address: 10.0.0.1:4001 is already a backend, and is probed and limited '
        "twice; a weight gives more share (see line 19)",
    ),
    "claims of anybody": (
        [('name = "ide"\nbind', 'name = "ide"\nforwarded = "keep"\nbind')],
        '5: listener "ide" > forwarded: hosts get whatever X-Forwarded-* any client claims: '
        "only a balancer in front can make them true",
    ),
    "fields of requests that are not read": (
        [('key = "sni"', 'key = "sni"\nrequest_fields = { set = { X-A = "b" } }')],
        '13: listener "raw" > request_fields: has no effect: mode "tcp" does not read requests',
    ),
    "a field removed that is set": (
        [("[pool.ring]", 'request_fields = { remove = ["x-a"], set = { X-A = "b" } }\n[pool.ring]')],
        '15: pool "ide" > request_fields > remove: X-A is in set, which replaces it anyway',
    ),
    "passive health that is off": (
        [health("passive = { consecutive = 3 }")],
        '18: pool "ide" > health > passive > consecutive: has no effect: passive health checks are off; set mode '
        '= "dry_run" or "on"',
    ),
    "a burst of tokens without a rate": (
        [token("burst = 5")],
        '16: pool "ide" > token > burst: has no effect without rate',
    ),
    "a queue for nobody": (
        [("[pool.ring]", "queue = 5\n[pool.ring]")],
        '15: pool "ide" > queue: has no effect without max_connections',
    ),
    "a burst without a rate": (
        [("[admin]", "limits.client_burst = 5\n[admin]")],
        "1: limits > client_burst: has no effect without client_rate",
    ),
    "a listener above the daemon": (
        [('mode = "tcp"', 'mode = "tcp"\nmax_connections = 30000')],
        '12: listener "raw" > max_connections: is never reached: limits.max_connections is 20000',
    ),
    "a parameter for headers": (
        [token('source = "header"', 'header = "X-User"', 'param = "t"')],
        '18: pool "ide" > token > param: has no effect: it needs source = "query"',
    ),
    "a depth of a query": (
        [token("depth = 1")],
        '16: pool "ide" > token > depth: has no effect: it needs source = "path" or "uri"',
    ),
    "TLS that is off": (
        [tls("verify = true")],
        '17: pool "ide" > tls: has no effect without enabled = true',
    ),
    "TLS with anybody": (
        [tls("enabled = true", "verify = false")],
        '19: pool "ide" > tls > verify: anyone between the balancer and the backends can read and change the traffic',
    ),
    "a name for plain backends": (
        [("weight = 2", 'server_name = "a"')],
        '20: pool "ide" > backend "ide-01" > server_name: has no effect without pool.tls.enabled = true',
    ),
    "the weight of a backup": (
        [("weight = 2", "weight = 2\nbackup = true")],
        '20: pool "ide" > backend "ide-01" > weight: has no effect: a backup is not on the ring',
    ),
    "a pace for no probes": (
        [("weight = 2", "health = { rise = 1 }")],
        '20: pool "ide" > backend "ide-01" > health: has no effect: pool.health.type turns its probes off',
    ),
    "probes of nobody, somewhere else": (
        [health('type = "tcp"'), ("weight = 2", 'check = false\ncheck_address = "10.0.0.1:1"')],
        '23: pool "ide" > backend "ide-01" > check_address: has no effect: check turns its probes off',
    ),
    "a path for TCP": (
        [health('type = "tcp"', 'path = "/"')],
        '19: pool "ide" > health > path: has no effect: it needs type = "http" or "websocket"',
    ),
    "TLS for HTTP": (
        [health('type = "http"', "tls = { verify = false }")],
        '19: pool "ide" > health > tls: has no effect: it needs type = "tls"',
    ),
    "an agent without probes": (
        [health("agent = { port = 4009 }")],
        '18: pool "ide" > health > agent: has no effect with type = "off"; the simplest type of probe is "tcp"',
    ),
    "a timeout beyond the interval": (
        [health('type = "http"', 'interval = "500ms"')],
        '17: pool "ide" > health > timeout: should be at most interval: a probe that takes longer delays the next one',
    ),
    "an unused pool": (
        [("[[pool]]", '[[pool]]\nname = "old"\nbackend = [{ name = "b", address = "10.0.0.9:1" }]\n[[pool]]')],
        '14: pool "old" > name: no listener uses this pool',
    ),
    "tokens in clear text": (
        [("[::1]:443", "[::]:443")],
        '5: listener "ide" > bind: tokens are sent in clear text at [::]:443: add a tls table to the listener',
    ),
    "a backend's key for another algorithm": (
        [("weight = 2", 'weight = 2\nserver = "a:1"')],
        '21: pool "ide" > backend "ide-01" > server: has no effect: it needs algorithm = "nginx"',
    ),
    "a seed that can be guessed": (
        [ring('hash = "blake2b"', 'seed = "secret"')],
        '17: pool "ide" > ring > seed: short enough to be guessed from the ring\'s fingerprint; use the output of '
        "`openssl rand -hex 16`",
    ),
}

FINE = {
    "probes": [health('type = "http"', 'fast_interval = "1s"', 'expect_body = "ok"', "drain_on_404 = true")],
    "probes that are off for now": [health('type = "off"', "expect_status = [200]", "tls = { verify = false }")],
    "probes of WebSockets": [health('type = "websocket"', 'path = "/ws"', 'host = "ide.example"')],
    "probes by TLS": [health('type = "tls"', 'tls = { server_name = "ide.example" }', "agent = { port = 1 }")],
    "probes somewhere else": [health('type = "tcp"'), ("weight = 2", 'check_address = "unix:/s"')],
    "both wildcards": [("127.0.0.1:444", "0.0.0.0:445"), ("mode", 'trusted = ["10.0.0.0/8"]\nmode')],
    "one port of two addresses": [("127.0.0.1:444", "127.0.0.2:443")],
    "any free port, twice": [("127.0.0.1:444", "127.0.0.1:0"), ("127.0.0.1:443", "127.0.0.1:0")],
    "a wildcard of the other family": [("127.0.0.1:443", "127.0.0.2:443"), ("127.0.0.1:444", "[::]:444")],
    "PROXY headers from a network": [('key = "sni"', 'proxy_protocol = "accept"\ntrusted = ["10.0.0.0/8"]')],
    "trusted alone": [('key = "sni"', 'trusted = ["10.0.0.0/8"]')],
    "routes": [route('host = ["a", "*.b.", "[::1]"]', 'path = ["/"]', of="ide"), route('sni = ["a"]')],
    "a header": [token('source = "header"', 'header = "X-User"', 'duplicates = "last"')],
    "a path": [token('source = "path"', "depth = 2")],
    "TLS to backends": [tls("enabled = true", 'server_name = "a"'), ("10.0.0.1:4001", "unix:/s")],
    "a name for one of them": [tls("enabled = true"), ("10.0.0.1:4001", 'unix:/s"\nserver_name = "a')],
    "PROXY headers": [('name = "ide"\n[pool.ring]', 'name = "ide"\nsend_proxy = "v2"\n[pool.ring]')],
    "a backup": [("weight = 2", "backup = true")],
    "passive health": [health('passive = { mode = "on", consecutive = 0, outcomes = ["5xx"] }', 'slow_start = "1m"')],
    "a pace of its own": [health('type = "tcp"'), ("weight = 2", 'health = { interval = "5s", rise = 1, fall = 2 }')],
    "one weight zero": [("weight = 2", "weight = 0")],
    "a keyed ring": [ring('hash = "blake2b"', 'seed = "0123456789abcdef"')],
    "a bound": [ring("bound = 1.0")],
    "a balance factor": [algorithm("haproxy", "hash_balance_factor = 101")],
    "haproxy with ids": [algorithm("haproxy"), ("weight = 2", "id = 1"), ("weight = 3", "id = 1048576")],
    "addresses instead of ids": [
        algorithm("haproxy", 'hash_key = "addr"'),
        ("weight = 2", "id = 1"),
        ("weight = 3", "id = 1048577"),
    ],
    "a map of haproxy": [algorithm("haproxy", 'hash_key = "addr"'), ("10.0.0.2:4001", "10.0.0.1:4002")],
    "a small prime table": [algorithm("maglev", "table_size = 211")],
    "keyed rendezvous": [algorithm("rendezvous", 'hash = "blake2b"', 'seed = "0123456789abcdef"')],
}


def changed(changes):
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_the_base_keeps_every_rule(judge):
    assert judge(BASE) == ([], [])


@pytest.mark.parametrize("changes", FINE.values(), ids=FINE)
def test_kept(judge, changes):
    assert judge(changed(changes)) == ([], [])


@pytest.mark.parametrize(("changes", "problem"), BROKEN.values(), ids=BROKEN)
def test_broken(judge, changes, problem):
    assert judge(changed(changes))[0] == [problem]


@pytest.mark.parametrize(("changes", "warning"), SUSPICIOUS.values(), ids=SUSPICIOUS)
def test_suspicious(judge, changes, warning):
    assert judge(changed(changes)) == ([], [warning])


RING_KEYS = {
    "hash": ["'md5'", "'blake2b'"],
    "seed": ["''", "'x'"],
    "points": ["1", "160"],
    "bound": ["0.0", "1.25"],
    "hash_type": ["'consistent'", "'map-based'"],
    "function": ["'sdbm'", "'none'"],
    "avalanche": ["true", "false"],
    "hash_key": ["'id'", "'addr'", "'addr-port'", "'id32'", "'guid'"],
    "hash_balance_factor": ["0", "50", "150"],
    "table_size": ["401", "65537"],
}
OF_HAPROXY = ["hash_type", "function", "avalanche", "hash_key", "hash_balance_factor", "bound"]
OF_ALGORITHM = {
    "ring": ["hash", "seed", "points", "bound"],
    "ketama": ["bound"],
    "haproxy": OF_HAPROXY,
    "nginx": ["bound"],
    "maglev": ["hash", "seed", "table_size", "bound"],
    "rendezvous": ["hash", "seed", "bound"],
}
BACKEND_KEYS = {
    "address": ["'10.0.0.1:1'", "'10.0.0.1:2'", "'10.0.0.2:1'", "'[::1]:1'", "'unix:/1'", "'unix:/2'"],
    "weight": ["0", "0.5", "1", "1.0", "3"],
    "id": ["1", "2", "3", "1048577"],
    "guid": ["''", "'a'", "'b'"],
    "server": ["''", "'a'", "'10.0.0.1:1'"],
    "backup": ["true", "false"],
}


def tables(choices, **required):
    values = {key: st.sampled_from(values) for key, values in choices.items()}
    mandatory = required | {key: values.pop(key) for key in ("address",) if key in values}
    table = st.fixed_dictionaries(mandatory, optional=values)
    return table.map(lambda keys: "{" + ", ".join(f"{key} = {value}" for key, value in keys.items()) + "}")


RINGS = st.sampled_from(sorted(OF_ALGORITHM)).flatmap(
    lambda name: tables({key: RING_KEYS[key] for key in OF_ALGORITHM[name]}, algorithm=st.just(f"'{name}'"))
)
BACKENDS = st.lists(tables(BACKEND_KEYS, name=st.sampled_from(["'a'", "'b'", "'c'", "'d'"])), min_size=1, max_size=3)


@given(RINGS, BACKENDS)
def test_what_passes_makes_a_ring(tmp_path_factory, ring, backends):
    path = tmp_path_factory.getbasetemp() / "drawn.toml"
    listener = "listener = [{ name = 'l', bind = ['127.0.0.1:0'], pool = 'p' }]\n"
    path.write_text(f"{listener}[[pool]]\nname = 'p'\nring = {ring}\nbackend = [{', '.join(backends)}]\n")
    report = check(path, 0)
    if report.config:
        [pool] = report.config.pool
        ring = build(pool)
        assert set(ring.order(b"token")) == {each.name for each in pool.backend if each.weight and not each.backup}
