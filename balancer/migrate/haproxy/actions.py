"""Rules on requests and connections (``http-request``, ``tcp-request``): none is carried out, each is told.

Names of actions are haproxy's (2.6 and up to 3.2); one that it does not have is an error in the file.
"""

from difflib import get_close_matches

from balancer.config.scalars import shown
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Notes

_REWRITE = "rewrites requests: let the backends do it"
_REFUSE = "refuses some requests: let the backends refuse them"
_COUNT = "counts or remembers clients: there are no tables"
_VARIABLE = "a value for other rules and logs: there are none"
_MAPS = "changes maps and ACLs while running: routes are in the file"
_KERNEL = "marks connections: a matter of nftables"
_ADDRESS = "changes addresses: the client's is that of the connection or of the PROXY header"
_QUEUE = "order in the queue: first come, first served"

HTTP = {
    "add-acl": _MAPS,
    "add-header": "",
    "allow": "lets requests past the rules after it: there are none",
    "attach-srv": "connections opened in reverse: there are none",
    "auth": "asks for a password: let the backends authenticate",
    "cache-use": "answers from a cache: let the backends or a CDN cache",
    "capture": "headers in the log: the access log has its own fixed fields",
    "del-acl": _MAPS,
    "del-header": "",
    "del-map": _MAPS,
    "deny": _REFUSE,
    "disable-l7-retry": "no second try for these requests: only what can be repeated is",
    "do-log": _VARIABLE,
    "do-resolve": "resolves names for each request: names are resolved once, on import",
    "early-hint": "sends 103 ahead: let the backends do it",
    "lua": "runs Lua programs: there are none; let the backends do it",
    "normalize-uri": "rewrites paths: they are passed on as they came",
    "pause": "slows requests down: there is no such thing",
    "redirect": "",
    "reject": _REFUSE,
    "replace-header": _REWRITE,
    "replace-path": _REWRITE,
    "replace-pathq": _REWRITE,
    "replace-uri": _REWRITE,
    "replace-value": _REWRITE,
    "return": "answers by itself: let the backends answer",
    "sc-add-gpc": _COUNT,
    "sc-inc-gpc": _COUNT,
    "sc-inc-gpc0": _COUNT,
    "sc-inc-gpc1": _COUNT,
    "sc-set-gpt": _COUNT,
    "sc-set-gpt0": _COUNT,
    "send-spoe-group": "asks a program about requests (SPOE): put such a step beside the daemon",
    "set-bandwidth-limit": "limits the rate of transfers: there is no such thing",
    "set-bc-mark": _KERNEL,
    "set-bc-tos": _KERNEL,
    "set-dst": _ADDRESS,
    "set-dst-port": _ADDRESS,
    "set-fc-mark": _KERNEL,
    "set-fc-tos": _KERNEL,
    "set-header": "",
    "set-log-level": "logs some requests only: log.access takes everything or nothing",
    "set-map": _MAPS,
    "set-mark": _KERNEL,
    "set-method": _REWRITE,
    "set-nice": _QUEUE,
    "set-path": _REWRITE,
    "set-pathq": _REWRITE,
    "set-priority-class": _QUEUE,
    "set-priority-offset": _QUEUE,
    "set-query": _REWRITE,
    "set-retries": "tries for one request: pool limits say it for all",
    "set-src": _ADDRESS,
    "set-src-port": _ADDRESS,
    "set-timeout": "timeouts of one request: those of [timeouts] hold for all",
    "set-tos": _KERNEL,
    "set-uri": _REWRITE,
    "set-var": _VARIABLE,
    "set-var-fmt": _VARIABLE,
    "silent-drop": _REFUSE,
    "strict-mode": "what failing rewrites do: there are none",
    "tarpit": _REFUSE,
    "track-sc0": _COUNT,
    "track-sc1": _COUNT,
    "track-sc2": _COUNT,
    "track-sc": _COUNT,
    "unset-var": _VARIABLE,
    "use-service": "answers by itself; metrics are at /metrics of admin.listen",
    "wait-for-body": "waits for the body: bodies are passed on as they come",
    "wait-for-handshake": "waits for TLS early data to be safe: there is none",
}
TCP = {
    "accept": "lets connections past the rules after it: there are none",
    "capture": HTTP["capture"],
    "close": _REFUSE,
    "expect-netscaler-cip": "NetScaler's header with the client's address: use the PROXY protocol",
    "expect-proxy": "",
    "fc-silent-drop": _REFUSE,
    "switch-mode": "goes from TCP to HTTP on the way: give such clients a listener of their own",
    **{name: text for name, text in HTTP.items() if not name.endswith("-header")},
}
_FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id")


def tell(line: Line, notes: Notes) -> None:
    """Say what a line with ``http-request``, ``tcp-request`` or ``redirect`` did."""
    keyword = line.words[0]
    if keyword == "redirect":
        _remark(line, "redirect", _REDIRECT, notes)
        return
    ruleset = line.words[1:2] if keyword == "tcp-request" else ()
    known = TCP if keyword == "tcp-request" else HTTP
    rest = line.words[1 + len(ruleset) :]
    if ruleset == ("inspect-delay",):
        _remark(line, "tcp-request inspect-delay", "how long a ClientHello is waited for: timeouts.handshake", notes)
        return
    if ruleset and ruleset[0] not in ("connection", "session", "content"):
        _problem(line, f"{shown(ruleset[0])} is not one of connection, session, content, inspect-delay", notes)
        return
    action = (rest[0] if rest else "").partition("(")[0]
    name = "lua" if action.startswith("lua.") else action
    if name not in known:
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {shown(close[0])}?" if close else ""
        _problem(line, f"{shown(action)} is no action{hint}", notes)
        return
    message = known[name]
    if name in ("set-header", "add-header", "del-header"):
        field = rest[1].lower() if len(rest) > 1 else ""
        message = _HEADER_SENT if field in _FORWARDED else _HEADERS
    elif name == "redirect":
        message = _REDIRECT
    elif message is _REFUSE:
        message = next((text for what, text in _LIMITS.items() if any(what in word for word in rest)), message)
    if message:
        _remark(line, " ".join((keyword, *ruleset, name)), message, notes)


_LIMITS = {
    "conn_rate": "refuses clients that connect too often: limits.client_rate does",
    "sess_rate": "refuses clients that connect too often: limits.client_rate does",
    "conn_cur": "refuses clients with too many connections: limits.max_connections_per_client does",
    "http_req_rate": "refuses clients that ask too often: limits.client_rate counts their connections, not requests",
}
"""What refusals are for, by a part of the fetches in their conditions."""
_REDIRECT = "redirects: there are none; let the backends, or a small web server on that address, redirect"
_HEADERS = "changes headers of requests: let the backends do without, or set them there"
_HEADER_SENT = "this header is always sent, and replaced if a client sends it itself (but for listener.trusted)"


def _remark(line: Line, what: str, message: str, notes: Notes) -> None:
    notes.remark(line.file, line.number, what, message)


def _problem(line: Line, message: str, notes: Notes) -> None:
    notes.problem(line.file, line.number, line.words[0], message)
