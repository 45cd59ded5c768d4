"""Checks of what listeners do with requests: their rules and routes."""

from collections.abc import Iterator
from difflib import get_close_matches

from balancer.config.finding import Finding, Key
from balancer.config.listener import ConditionConfig, ListenerConfig, RouteConfig, TlsConfig
from balancer.config.model import Config
from balancer.config.pool import PoolConfig
from balancer.config.scalars import MAX_PORT, shown

_ACTIONS = ("deny", "redirect", "answer", "pool")


def rule_findings(at: Key, listener: ListenerConfig, pools: tuple[PoolConfig, ...]) -> Iterator[Finding]:
    """Check the rules and routes of a listener."""
    for i, rule in enumerate(listener.rule):
        key = (*at, "rule", i)
        if rule.pool is not None:
            yield from reference_findings((*key, "pool"), rule.pool, pools)
        actions = [name for name in _ACTIONS if getattr(rule, name) is not None]
        if not actions:
            yield Finding(key, "has no action: add deny, redirect, answer or pool")
        for name in actions[1:]:
            yield Finding((*key, name), f"a rule has one action, and this one has {actions[0]} already")
        redirect = rule.redirect
        if redirect is not None:
            parts = sorted(redirect.model_fields_set - {"location", "code"})
            if redirect.location is not None and parts:
                yield Finding((*key, "redirect", parts[0]), "has no effect with location: remove one of them")
            if redirect.location is None and not parts:
                yield Finding((*key, "redirect"), "leads nowhere: set location, scheme, host or prefix")
        yield from _conditions(key, at, listener, rule)
        for j, condition in enumerate(rule.unless):
            if not _given(condition):
                yield Finding((*key, "not", j), "matches everything, so the rule matches nothing")
            yield from _conditions((*key, "not", j), at, listener, condition)
        if listener.mode == "tcp" and (rule.redirect is not None or rule.answer is not None):
            message = 'mode "tcp" does not answer requests: rules can only use deny and pool'
            yield Finding((*key, "redirect" if rule.redirect is not None else "answer"), message, ((*at, "mode"),))
    yield from _routes(at, listener, pools)
    yield from _unreachable(at, listener)


def _conditions(key: Key, at: Key, listener: ListenerConfig, condition: ConditionConfig) -> Iterator[Finding]:
    given = _given(condition)
    if listener.mode == "tcp":
        for name in sorted(given - {"sni", "client", "tls", "certificate"}):
            message = 'mode "tcp" does not read requests: rules can only use sni, tls, certificate and client'
            yield Finding((*key, name), message, ((*at, "mode"),))
    elif condition.sni and listener.tls is None:
        yield Finding((*key, "sni"), "needs TLS: add a tls table to the listener, or use host", ((*at, "tls"),))
    if condition.tls is not None and (listener.mode == "http" or listener.tls is not None):
        message = 'is for mode "tcp" without a tls table: here a listener has TLS for all of its clients, or for none'
        yield Finding((*key, "tls"), message, ((*at, "mode"), (*at, "tls")))
    if condition.certificate is not None and (listener.tls is None or listener.tls.client is None):
        message = 'clients are not asked for a certificate: add client = "optional" to the tls table'
        yield Finding((*key, "certificate"), message, ((*at, "tls"),))


def _given(condition: ConditionConfig) -> set[str]:
    return {name for name in ConditionConfig.model_fields if getattr(condition, name) not in ((), {}, None)}


def _unreachable(at: Key, listener: ListenerConfig) -> Iterator[Finding]:
    """Warn of rules and routes behind one that matches everything they match."""
    rules: list[tuple[Key, ConditionConfig | RouteConfig]] = []
    for i, rule in enumerate(listener.rule):
        rules.append(((*at, "rule", i), rule))
    for i, route in enumerate(listener.route):
        rules.append(((*at, "route", i), route))
    for number, (key, later) in enumerate(rules):
        for before, earlier in rules[:number]:
            if not getattr(earlier, "unless", ()) and _covers(earlier, later):
                what = f"{before[-2]} #{int(before[-1]) + 1}"
                yield Finding(
                    key, f"can never match: {what} comes first and matches all of it", (before,), warning=True
                )
                break


def _covers(earlier: ConditionConfig | RouteConfig, later: ConditionConfig | RouteConfig) -> bool:
    """Return whether ``earlier`` certainly matches everything that ``later`` matches."""
    if not _hosts_cover(earlier.host, later.host) or not _hosts_cover(earlier.sni, later.sni):
        return False
    if earlier.path or earlier.path_prefix:
        if not (later.path or later.path_prefix):
            return False
        whole = all(path in earlier.path or path.startswith(earlier.path_prefix) for path in later.path)
        if not (whole and all(prefix.startswith(earlier.path_prefix) for prefix in later.path_prefix)):
            return False
    if isinstance(earlier, ConditionConfig):
        more = later if isinstance(later, ConditionConfig) else ConditionConfig()
        return (
            (not earlier.method or (bool(more.method) and set(more.method) <= set(earlier.method)))
            and set(earlier.query) <= set(more.query)
            and earlier.header.items() <= more.header.items()
            and earlier.tls in (None, more.tls)
            and earlier.certificate in (None, more.certificate)
            and (not earlier.client or (bool(more.client) and set(more.client) <= set(earlier.client)))
        )
    return True


def _hosts_cover(earlier: tuple[str, ...], later: tuple[str, ...]) -> bool:
    if not earlier:
        return True
    return bool(later) and all(
        any(name == each or (each[0] == "*" and name.endswith(each[1:])) for each in earlier) for name in later
    )


def _routes(at: Key, listener: ListenerConfig, pools: tuple[PoolConfig, ...]) -> Iterator[Finding]:
    for i, route in enumerate(listener.route):
        key = (*at, "route", i)
        yield from reference_findings((*key, "pool"), route.pool, pools)
        if not (route.host or route.path or route.path_prefix or route.sni):
            yield Finding(key, "matches everything: add host, path, path_prefix or sni")
        if listener.mode == "tcp":
            for name in sorted(route.model_fields_set & {"host", "path", "path_prefix"}):
                message = 'mode "tcp" does not read requests: routes can only use sni'
                yield Finding((*key, name), message, ((*at, "mode"),))
        elif route.sni and listener.tls is None:
            message = "needs TLS: add a tls table to the listener, or use host"
            yield Finding((*key, "sni"), message, ((*at, "mode"), (*at, "tls")))


def tls_findings(at: Key, tls: TlsConfig | None) -> Iterator[Finding]:
    """Check whether a listener can verify certificates of clients."""
    if tls is None:
        return
    key = (*at, "tls")
    for name in ("client_ca", "client_crl"):
        if tls.client is None and getattr(tls, name) is not None:
            message = 'does not keep anybody out by itself: add client = "required", or "optional"'
            yield Finding((*key, name), message, ((*key, "client"),))
    if tls.client is not None and tls.client_ca is None:
        message = "missing: client needs the certificates of the authorities that are trusted"
        yield Finding((*key, "client_ca"), message, ((*key, "client"),))


def goal_findings(at: Key, listener: ListenerConfig, config: Config) -> Iterator[Finding]:
    """Check where the requests of a listener go: to a pool, or to https."""
    redirect, acme = (*at, "redirect"), listener.acme_challenge
    if listener.pool is not None:
        yield from reference_findings((*at, "pool"), listener.pool, config.pool)
        if listener.redirect is not None:
            yield Finding(redirect, "a listener has a pool or a redirect: remove one of them", ((*at, "pool"),))
    elif listener.redirect is None:
        message = "missing: a listener needs the name of the pool behind it, or a redirect"
        yield Finding((*at, "pool"), message, (redirect,))
    elif (port := listener.redirect.rpartition(":")[2]).isdecimal() and int(port) > MAX_PORT:
        yield Finding(redirect, f"expected a port of at most {MAX_PORT}, not {port}")
    elif listener.mode == "tcp" or listener.tls is not None:
        yield Finding(redirect, 'is for listeners with mode = "http" and without tls', ((*at, "mode"), (*at, "tls")))
    elif not any(each.tls for each in config.listener):
        reads = tuple(("listener", i, "tls") for i in range(len(config.listener)))
        yield Finding(redirect, "no listener has a tls table, so there is no host to redirect to", reads)
    if acme is not None:
        if acme.pool is not None:
            yield from reference_findings((*at, "acme_challenge", "pool"), acme.pool, config.pool)
        if (acme.pool is None) == (acme.folder is None):
            yield Finding((*at, "acme_challenge"), "needs one of pool and folder")
        if listener.mode == "tcp":
            yield Finding((*at, "acme_challenge"), 'mode "tcp" does not answer requests', ((*at, "mode"),))


def reference_findings(at: Key, name: str, pools: tuple[PoolConfig, ...]) -> Iterator[Finding]:
    """Check that a pool of this ``name`` exists."""
    names = [pool.name for pool in pools]
    if name not in names:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean {shown(close[0])}?" if close else f"existing pools: {', '.join(map(shown, names[:8]))}"
        reads = tuple(("pool", i, "name") for i in range(len(pools)))
        yield Finding(at, f"no pool is named {shown(name)}; {hint}", reads)
