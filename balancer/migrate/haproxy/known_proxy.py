"""Keywords of proxies (defaults, frontend, backend, listen): what each did and what to do instead.

An empty text means that the keyword is converted. Keywords have one or two words; the longest match counts.
From the manual of 2.6 and, where commonly used, of versions up to 3.2.
"""

from balancer.migrate.outcome import Effect

_SYSTEMD = "set it in the kernel or the unit (sysctl, systemd)"
_KEEPALIVE = "TCP keep-alive: see timeouts.tunnel_idle"
_OWN_ERRORS = "redirects in place of errors: see listener.error_pages for pages"
_CAPTURE = "logs headers: the access log has fixed fields"
_FAST = "optimisation of haproxy: nothing to do"
_CHECK = "scripted checks are not supported: a probe is one request with an expected answer (pool.health)"
_EMAIL = "mails about state changes: alert on the metric balancer_backend_up"
_PERSIST = (
    "keeps users on their first server: here the token, open connections and pins decide; "
    "users that it kept elsewhere move once"
)
_REWRITE = "rewrites requests: let the backends do it"
_PROTOCOL_CHECK = "checks in this protocol are not supported: probes open a TCP connection"
_LOG = "format of log lines: the access log has those of option httplog (log.access_format)"

KEYWORDS = {
    "acl": "",
    "backlog": f"length of the accept queue: {_SYSTEMD}",
    "balance": "",
    "bind": "",
    "bind-process": "binds the proxy to processes: every worker serves every listener",
    "capture": _CAPTURE,
    "clitcpka-cnt": _KEEPALIVE,
    "clitcpka-idle": _KEEPALIVE,
    "clitcpka-intvl": _KEEPALIVE,
    "compression": "compresses answers: let the backends compress",
    "cookie": "",
    "declare": _CAPTURE,
    "default-server": "",
    "default_backend": "",
    "description": "text on the statistics page: keep it as a comment",
    "disabled": "",
    "dispatch": "a server without a name: write it as a server line and import again",
    "email-alert": _EMAIL,
    "enabled": "",
    "error-log-format": _LOG,
    "errorfile": "",
    "errorfiles": "",
    "errorloc": _OWN_ERRORS,
    "errorloc302": _OWN_ERRORS,
    "errorloc303": _OWN_ERRORS,
    "external-check": "a program that checks servers: use probes (pool.health) or an agent",
    "filter": "filters traffic (compression, trace, SPOE, bandwidth): not supported",
    "force-persist": _PERSIST,
    "fullconn": "scales limits with the load: use fixed ones",
    "grace": "time between a signal and the end: see timeouts.drain",
    "guid": "name in the statistics file: nothing to do",
    "hash-balance-factor": "",
    "hash-preserve-affinity": "what happens to users of a full server: see max_connections and queue of the pool",
    "hash-type": "",
    "http-after-response": "changes answers: let the backends do it",
    "http-check": "",
    "http-error": "",
    "http-request": "",
    "http-response": "changes answers: let the backends do it",
    "http-reuse": "how connections to servers are shared: idle ones are always reused",
    "http-send-name-header": "sends the name of the server in a header: not supported",
    "id": "number in the statistics: nothing to do",
    "ignore-persist": _PERSIST,
    "load-server-state-from-file": "keeps states over a restart: state_dir keeps states, weights and pins",
    "log": "",
    "log-format": _LOG,
    "log-format-sd": _LOG,
    "log-steps": _LOG,
    "log-tag": "program name in syslog: it is that of the systemd unit",
    "max-keep-alive-queue": "when connections to servers are kept: idle ones are always reused",
    "max-session-srv-conns": "connections to servers kept for one client: all clients share them",
    "maxconn": "",
    "mode": "",
    "monitor": "makes monitor-uri fail: see /readyz of the admin listener",
    "monitor-uri": "",
    "option abortonclose": "aborts requests whose client has left: always done",
    "option accept-invalid-http-request": "accepts malformed requests: they are rejected; fix the clients",
    "option accept-invalid-http-response": "accepts malformed answers: they are rejected; fix the backends",
    "option accept-unsafe-violations-in-http-request": "accepts malformed requests: they are rejected",
    "option accept-unsafe-violations-in-http-response": "accepts malformed answers: they are rejected",
    "option allbackups": "",
    "option checkcache": "rejects cacheable answers with cookies: let the backends avoid them",
    "option clitcpka": _KEEPALIVE,
    "option contstats": "updates counters during transfers: always done",
    "option disable-h2-upgrade": "HTTP/2 is not supported",
    "option dontlog-normal": "logs errors only: log.access logs all or none",
    "option dontlognull": "does not log connections without a request: they are never logged",
    "option external-check": _PROTOCOL_CHECK,
    "option forwardfor": "",
    "option forwarded": "sends the header Forwarded: see listener.request_fields",
    "option h1-case-adjust-bogus-client": "changes the case of header names: they are passed on unchanged",
    "option h1-case-adjust-bogus-server": "changes the case of header names: they are passed on unchanged",
    "option http-buffer-request": "waits for the body before it chooses a server: bodies are passed on as they arrive",
    "option http-drop-request-trailers": "drops trailers of requests: they are never passed on",
    "option http-drop-response-trailers": "drops trailers of answers: they are passed on with the body",
    "option http-ignore-probes": "does not log connections without a request: they are never logged",
    "option http-keep-alive": "",
    "option http-no-delay": "sends small pieces at once: always done",
    "option http-pretend-keepalive": "announces keep-alive to servers: connections to them are kept",
    "option http-restrict-req-hdr-names": "rejects unusual header names: names that RFC 9110 forbids are rejected",
    "option http-server-close": "closes the connection to the server after each request: idle ones are kept and reused",
    "option http-use-htx": "old switch of haproxy: nothing to do",
    "option http-use-proxy-header": "reads Proxy-Connection: it is ignored, as RFC 9112 requires",
    "option httpchk": "",
    "option httpclose": "closes connections after each request: they are kept unless a side sends Connection: close",
    "option httplog": "",
    "option httpslog": "",
    "option idle-close-on-response": "keeps idle connections over a reload: always done",
    "option independent-streams": "a timeout for each direction: timeouts.tunnel_idle applies to both together",
    "option independant-streams": "a timeout for each direction: timeouts.tunnel_idle applies to both together",
    "option ldap-check": _PROTOCOL_CHECK,
    "option log-health-checks": "logs results of checks: changes of state are always logged",
    "option log-separate-errors": "logs errors at a higher level: each line of the access log has the status",
    "option logasap": "logs before the end: tunnels are logged when they open and when they close",
    "option mysql-check": _PROTOCOL_CHECK,
    "option nolinger": "resets connections at their end: they are closed normally",
    "option originalto": "sends the original destination in a header: not supported",
    "option persist": _PERSIST,
    "option pgsql-check": _PROTOCOL_CHECK,
    "option prefer-last-server": "prefers the server of the connection: the token of each request decides",
    "option redis-check": _PROTOCOL_CHECK,
    "option redispatch": "",
    "option smtpchk": _PROTOCOL_CHECK,
    "option socket-stats": "counts for each address: counters are for each listener",
    "option splice-auto": _FAST,
    "option splice-request": _FAST,
    "option splice-response": _FAST,
    "option spop-check": _PROTOCOL_CHECK,
    "option srvtcpka": _KEEPALIVE,
    "option ssl-hello-chk": "",
    "option tcp-check": "",
    "option tcp-smart-accept": _FAST,
    "option tcp-smart-connect": _FAST,
    "option tcpka": _KEEPALIVE,
    "option tcplog": "",
    "option transparent": "connects to the original destination: list the backends",
    "persist": _PERSIST,
    "quic-initial": "rules for QUIC is not supported",
    "rate-limit": "limits new connections: see [limits]",
    "redirect": "",
    "retries": "",
    "retry-on": "what is retried: see pool.retry",
    "server": "",
    "server-state-file-name": "keeps states over a restart: state_dir keeps states, weights and pins",
    "server-template": "",
    "source": "source address of connections to servers: set it in the route (ip route)",
    "srvtcpka-cnt": _KEEPALIVE,
    "srvtcpka-idle": _KEEPALIVE,
    "srvtcpka-intvl": _KEEPALIVE,
    "stats": "",
    "stick": "",
    "stick-table": "stick-tables are not supported; see limits.client_rate and limits.max_connections_per_client",
    "tcp-check": _CHECK,
    "tcp-request": "",
    "tcp-response": "rules on answers in TCP mode are not supported",
    "timeout check": "",
    "timeout client": "",
    "timeout client-fin": "timeout after one side has closed: see timeouts.tunnel_idle",
    "timeout client-hs": "",
    "timeout connect": "",
    "timeout http-keep-alive": "",
    "timeout http-request": "",
    "timeout queue": "",
    "timeout server": "",
    "timeout server-fin": "timeout after one side has closed: see timeouts.tunnel_idle",
    "timeout tarpit": "how long unwanted clients are delayed: they are rejected at once",
    "timeout tunnel": "",
    "transparent": "connects to the original destination: list the backends",
    "unique-id-format": "request ids: X-Request-ID is generated, or kept if a trusted peer sent it",
    "unique-id-header": "",
    "use-fcgi-app": "FastCGI is not supported: put an HTTP server in front of the application",
    "use-server": "sends some requests to a fixed server: use `balancer pin` for tokens",
    "use_backend": "",
}

OBSOLETE = {
    "monitor-net": "http-request return",
    "option http-tunnel": "timeout tunnel",
    "reqadd": "http-request add-header",
    "reqdel": "http-request del-header",
    "reqidel": "http-request del-header",
    "reqirep": "http-request replace-header",
    "reqrep": "http-request replace-header",
    "rspadd": "http-response add-header",
    "rspdel": "http-response del-header",
    "rspidel": "http-response del-header",
    "rspirep": "http-response replace-header",
    "rsprep": "http-response replace-header",
}
"""Keywords that haproxy no longer accepts and that are not converted, and their replacements."""
RENAMED = {
    "block": "http-request deny",
    "clitimeout": "timeout client",
    "contimeout": "timeout connect",
    "option forceclose": "option httpclose",
    "srvtimeout": "timeout server",
}
"""Old spellings, and the keywords with the same meaning."""

_SILENT = (_KEEPALIVE, _FAST, _EMAIL, _LOG, _CAPTURE)
_HARMLESS = frozenset(
    keyword
    for keyword, message in KEYWORDS.items()
    if message in _SILENT or "nothing to do" in message or "always " in message or _SYSTEMD in message
) | {"description", "log-tag", "option socket-stats", "bind-process", "server-state-file-name"}
"""Keywords that no request notices."""


def effect(keyword: str) -> Effect:
    """Return what it means that a keyword was left out."""
    return Effect.NONE if keyword in _HARMLESS else Effect.TRAFFIC
