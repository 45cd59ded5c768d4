"""Keys of a listener in place of rules that do the same: ``redirect = "https"`` and ``acme_challenge``."""

from balancer.config.settings import CHALLENGES
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.toml import TomlTable

_HTTPS = {"scheme": "https", "code": 308}
_RULE, _ROUTE = "[[listener.rule]]", "[[listener.route]]"


def shorten(top: TomlTable, notes: Notes, file: str) -> None:
    """Replace rules by the keys of their listener that do the same; ``file`` is the old one, for a remark."""
    listeners = [table for table in top.tables if table.header == "[[listener]]"]
    over_tls = any(_terminates(each) for each in listeners)
    for listener in listeners:
        rules = [table for table in listener.tables if table.header == _RULE]
        routes = [table for table in listener.tables if table.header == _ROUTE]
        if over_tls and rules and not routes and not _terminates(listener) and _keys(rules[-1]) == {"redirect": _HTTPS}:
            listener.tables.remove(rules.pop())
            del listener.keys["pool"]
            listener.set("redirect", "https")
            message = f"listener {listener.keys['name'][0]} redirects hosts that a certificate covers, others get 421"
            notes.remark(file, 0, "redirect", message, Effect.CHANGED)
            _challenges(listener, rules[-1:])
        else:
            _challenges(listener, routes[:1])


def _challenges(listener: TomlTable, candidates: list[TomlTable]) -> None:
    for each in candidates:
        keys = _keys(each)
        if keys == {"path_prefix": [CHALLENGES], "pool": keys.get("pool")} and "acme_challenge" not in listener.keys:
            listener.tables.remove(each)
            listener.set("acme_challenge", {"pool": each.keys["pool"][0]})


def _terminates(listener: TomlTable) -> bool:
    return any(table.header == "[listener.tls]" and table.keys for table in listener.tables)


def _keys(table: TomlTable) -> dict[str, object]:
    return {key: value for key, (value, _) in table.keys.items()}
