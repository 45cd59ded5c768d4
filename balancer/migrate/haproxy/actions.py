"""Actions of ``http-request`` and ``tcp-request`` that have no counterpart, each of which is reported.

An empty text means that ``access.py`` or ``fields.py`` converts the action, or that there is nothing to report. Names
of actions are haproxy's (2.6 to 3.2); an unknown one is an error.
"""

from difflib import get_close_matches

from balancer.config.scalars import shown
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Effect, Notes

_REWRITE = "rewrites requests: let the backends do it"
_COUNT = "counts or remembers clients: there are no stick-tables"
_VARIABLE = "sets a variable: there are none"
_MAPS = "changes maps and ACLs at run time: routes are in the file"
_KERNEL = "marks connections: use nftables"
_ADDRESS = "changes addresses: the client's address comes from the connection or the PROXY header"
_QUEUE = "priority in the queue: it is first come, first served"

HTTP = {
    "add-acl": _MAPS,
    "add-header": "",
    "allow": "",
    "attach-srv": "reverse connections are not supported",
    "auth": "",
    "cache-use": "answers from caching is not supported: let the backends or a CDN cache",
    "capture": "logs headers: the access log has fixed fields",
    "del-acl": _MAPS,
    "del-header": "",
    "del-map": _MAPS,
    "deny": "",
    "disable-l7-retry": "disables retries for these requests: only repeatable requests are retried",
    "do-log": _VARIABLE,
    "do-resolve": "resolves names for each request: names are resolved once, on import",
    "early-hint": "sends 103 Early Hints: let the backends do it",
    "lua": "Lua is not supported: let the backends do it",
    "normalize-uri": "rewrites paths: they are passed on unchanged",
    "pause": "delays requests: not supported",
    "redirect": "",
    "reject": "",
    "replace-header": _REWRITE,
    "replace-path": _REWRITE,
    "replace-pathq": _REWRITE,
    "replace-uri": _REWRITE,
    "replace-value": _REWRITE,
    "return": "",
    "sc-add-gpc": _COUNT,
    "sc-inc-gpc": _COUNT,
    "sc-inc-gpc0": _COUNT,
    "sc-inc-gpc1": _COUNT,
    "sc-set-gpt": _COUNT,
    "sc-set-gpt0": _COUNT,
    "send-spoe-group": "asks a program about requests (SPOE): not supported",
    "set-bandwidth-limit": "limits bandwidth: not supported",
    "set-bc-mark": _KERNEL,
    "set-bc-tos": _KERNEL,
    "set-dst": _ADDRESS,
    "set-dst-port": _ADDRESS,
    "set-fc-mark": _KERNEL,
    "set-fc-tos": _KERNEL,
    "set-header": "",
    "set-log-level": "logs some requests only: log.access logs all or none",
    "set-map": _MAPS,
    "set-mark": _KERNEL,
    "set-method": _REWRITE,
    "set-nice": _QUEUE,
    "set-path": _REWRITE,
    "set-pathq": _REWRITE,
    "set-priority-class": _QUEUE,
    "set-priority-offset": _QUEUE,
    "set-query": _REWRITE,
    "set-retries": "retries of one request: see pool.retry, which applies to all",
    "set-src": _ADDRESS,
    "set-src-port": _ADDRESS,
    "set-timeout": "timeouts of one request: see [timeouts], which applies to all",
    "set-tos": _KERNEL,
    "set-uri": _REWRITE,
    "set-var": _VARIABLE,
    "set-var-fmt": _VARIABLE,
    "silent-drop": "",
    "strict-mode": "what failing rewrites do: there are no rewrites",
    "tarpit": "",
    "track-sc0": _COUNT,
    "track-sc1": _COUNT,
    "track-sc2": _COUNT,
    "track-sc": _COUNT,
    "unset-var": _VARIABLE,
    "use-service": "answers by itself; metrics are at /metrics of admin.listen",
    "wait-for-body": "waits for the body: bodies are passed on as they arrive",
    "wait-for-handshake": "waits until TLS early data is safe: early data is not accepted",
}
TCP = {
    "accept": "",
    "capture": HTTP["capture"],
    "close": "",
    "expect-netscaler-cip": "NetScaler's header with the client's address is not supported: use the PROXY protocol",
    "expect-proxy": "",
    "fc-silent-drop": "",
    "switch-mode": "switches from TCP to HTTP: use a separate listener",
    **{name: text for name, text in HTTP.items() if not name.endswith("-header")},
}


def tell(line: Line, notes: Notes) -> None:
    """Report a line with ``http-request`` or ``tcp-request``."""
    keyword = line.words[0]
    ruleset = line.words[1:2] if keyword == "tcp-request" else ()
    known = TCP if keyword == "tcp-request" else HTTP
    rest = line.words[1 + len(ruleset) :]
    if ruleset == ("inspect-delay",):
        message = "how long to wait for a ClientHello: timeouts.handshake, of all listeners"
        notes.remark(line.file, line.number, "tcp-request inspect-delay", message, Effect.CHANGED)
        return
    if ruleset and ruleset[0] not in ("connection", "session", "content"):
        _problem(line, f"{shown(ruleset[0])} is not one of connection, session, content, inspect-delay", notes)
        return
    action = (rest[0] if rest else "").partition("(")[0]
    name = "lua" if action.startswith("lua.") else action
    if name not in known:
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {shown(close[0])}?" if close else ""
        _problem(line, f"{shown(action)} is not an action{hint}", notes)
        return
    message = known[name]
    if message:
        _remark(line, " ".join((keyword, *ruleset, name)), message, notes)


def _remark(line: Line, what: str, message: str, notes: Notes) -> None:
    notes.remark(line.file, line.number, what, message)


def _problem(line: Line, message: str, notes: Notes) -> None:
    notes.problem(line.file, line.number, line.words[0], message)
