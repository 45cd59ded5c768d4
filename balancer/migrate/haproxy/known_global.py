"""Keywords of haproxy's section ``global``: converted (an empty text), or what they did and what to do instead."""

from balancer.migrate.outcome import Effect

_UNIT = "set it in the systemd unit (systemd/balancer.service)"
_LUA = "Lua is not supported: let the backends do it"
_DEVICE = "device detection: let the backends do it"
_TUNING = "internal tuning of haproxy: nothing to do"
_TLS = "TLS setting: the daemon uses OpenSSL's secure defaults"
_RATES = "limits rates: see [limits]"
_POLLER = "polling system call: it is always epoll"
_H1 = "changes the case of header names: they are passed on unchanged"

KEYWORDS = {
    "51degrees-cache-size": _DEVICE,
    "51degrees-data-file": _DEVICE,
    "51degrees-property-name-list": _DEVICE,
    "51degrees-property-separator": _DEVICE,
    "anonkey": "key of anonymised dumps: nothing to do",
    "busy-polling": _POLLER,
    "ca-base": "",
    "chroot": f"confines the process to a directory: {_UNIT}",
    "close-spread-time": "",
    "cluster-secret": "a secret for QUIC is not supported",
    "cpu-map": f"binds threads to CPUs: {_UNIT}, CPUAffinity",
    "cpu-policy": f"binds threads to CPUs: {_UNIT}, CPUAffinity",
    "crt-base": "",
    "daemon": f"runs in the background: {_UNIT}",
    "default-path": "",
    "description": "text on the statistics page: keep it as a comment",
    "deviceatlas-json-file": _DEVICE,
    "deviceatlas-log-level": _DEVICE,
    "deviceatlas-properties-cookie": _DEVICE,
    "deviceatlas-separator": _DEVICE,
    "expose-deprecated-directives": _TUNING,
    "expose-experimental-directives": _TUNING,
    "external-check": "allows programs that check servers: see pool.health for probes",
    "fd-hard-limit": f"open files: {_UNIT}, LimitNOFILE",
    "gid": f"the group to run as: {_UNIT}",
    "grace": "time between a signal and the end: see timeouts.drain",
    "group": f"the group to run as: {_UNIT}",
    "h1-accept-payload-with-any-method": "allows bodies of GET requests: they are allowed",
    "h1-case-adjust": _H1,
    "h1-case-adjust-file": _H1,
    "h2-workaround-bogus-websocket-clients": "HTTP/2 is not supported",
    "hard-stop-after": "",
    "harden.reject-privileged-ports.tcp": _TUNING,
    "http-err-codes": "which statuses count as errors: balancer_requests_total counts each class",
    "http-fail-codes": "which statuses count as errors: balancer_requests_total counts each class",
    "httpclient.resolvers.id": _LUA,
    "httpclient.resolvers.prefer": _LUA,
    "httpclient.ssl.ca-file": _LUA,
    "httpclient.ssl.verify": _LUA,
    "insecure-fork-wanted": "allows haproxy to start programs: the daemon starts none",
    "insecure-setuid-wanted": "allows haproxy to start programs: the daemon starts none",
    "issuers-chain-path": "completes certificate chains: put the whole chain into the file, leaf first",
    "limited-quic": "QUIC is not supported",
    "localpeer": "name among peers: there are none",
    "log": "",
    "log-send-hostname": "host name in syslog: the journal adds it",
    "log-tag": "program name in syslog: it is that of the systemd unit",
    "lua-load": _LUA,
    "lua-load-per-thread": _LUA,
    "lua-prepend-path": _LUA,
    "master-worker": "master process: the daemon always has a supervisor",
    "max-spread-checks": "limits the spread of checks: see pool.health.jitter",
    "maxcompcpuusage": "limits compression, which is not supported",
    "maxcomprate": "limits compression, which is not supported",
    "maxconn": "",
    "maxconnrate": _RATES,
    "maxpipes": _TUNING,
    "maxsessrate": _RATES,
    "maxsslconn": "limits TLS connections: limits.max_connections counts all connections",
    "maxsslrate": _RATES,
    "maxzlibmem": "limits compression, which is not supported",
    "mworker-max-reloads": "ends old processes: a reload starts no processes",
    "nbproc": "",
    "nbthread": "",
    "no-memory-trimming": _TUNING,
    "no-quic": "QUIC is not supported",
    "node": "name on the statistics page: nothing to do",
    "noepoll": _POLLER,
    "noevports": _POLLER,
    "nogetaddrinfo": _TUNING,
    "nokqueue": _POLLER,
    "nopoll": _POLLER,
    "noreuseport": _TUNING,
    "nosplice": _TUNING,
    "numa-cpu-mapping": f"binds threads to CPUs: {_UNIT}, CPUAffinity",
    "pidfile": f"file with the process id: {_UNIT}",
    "pp2-never-send-local": "format of PROXY headers in checks: nothing to do",
    "prealloc-fd": _TUNING,
    "presetenv": "",
    "profiling.memory": _TUNING,
    "profiling.tasks": _TUNING,
    "quiet": "less output: see log.level",
    "resetenv": "",
    "server-state-base": "keeps states over a restart: state_dir keeps states, weights and pins",
    "server-state-file": "keeps states over a restart: state_dir keeps states, weights and pins",
    "set-dumpable": f"core dumps: {_UNIT}, LimitCORE",
    "set-var": "sets a variable for conditions: there are none",
    "set-var-fmt": "sets a variable for conditions: there are none",
    "setcap": f"capabilities of the process: {_UNIT}",
    "setenv": "",
    "spread-checks": "",
    "ssl-default-bind-ciphers": _TLS,
    "ssl-default-bind-ciphersuites": _TLS,
    "ssl-default-bind-client-sigalgs": _TLS,
    "ssl-default-bind-curves": _TLS,
    "ssl-default-bind-options": "",
    "ssl-default-bind-sigalgs": _TLS,
    "ssl-default-server-ciphers": _TLS,
    "ssl-default-server-ciphersuites": _TLS,
    "ssl-default-server-curves": _TLS,
    "ssl-default-server-options": _TLS,
    "ssl-dh-param-file": _TLS,
    "ssl-engine": _TLS,
    "ssl-load-extra-del-ext": "",
    "ssl-load-extra-files": "",
    "ssl-mode-async": _TLS,
    "ssl-propquery": _TLS,
    "ssl-provider": _TLS,
    "ssl-provider-path": _TLS,
    "ssl-security-level": _TLS,
    "ssl-server-verify": "",
    "ssl-skip-self-issued-ca": _TLS,
    "stats": "",
    "stats-file": "keeps counters over a restart: those of /metrics start at 0",
    "strict-limits": f"refuses to start when limits cannot be set: {_UNIT}, LimitNOFILE",
    "thread-group": _TUNING,
    "thread-groups": _TUNING,
    "uid": f"the user to run as: {_UNIT}",
    "ulimit-n": f"open files: {_UNIT}, LimitNOFILE",
    "unix-bind": "permissions of Unix sockets: set those of the directory",
    "unsetenv": "",
    "user": f"the user to run as: {_UNIT}",
    "wurfl-cache-size": _DEVICE,
    "wurfl-data-file": _DEVICE,
    "wurfl-information-list": _DEVICE,
    "wurfl-information-list-separator": _DEVICE,
    "zero-warning": "refuses to start with warnings: `balancer check` reports them",
    "tune.bufsize": "",
    "tune.maxrewrite": "",
}


def meaning(keyword: str) -> str | None:
    """Return the message for a keyword of ``global``; None if haproxy has no such keyword."""
    if keyword not in KEYWORDS and keyword.startswith("tune."):
        return _TUNING
    return KEYWORDS.get(keyword)


_NOTICED = (
    *("lua", "h1-", "http-", "51degrees", "deviceatlas", "wurfl", "module"),
    *("maxconnrate", "maxsessrate", "maxsslrate", "maxsslconn"),
)
"""How the keywords begin that requests notice."""


def effect(keyword: str) -> Effect:
    """Return what it means that a keyword was left out."""
    return Effect.TRAFFIC if keyword.startswith(_NOTICED) and KEYWORDS.get(keyword) != _TLS else Effect.NONE
