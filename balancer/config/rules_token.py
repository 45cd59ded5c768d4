"""Rules about the tokens of a pool: where they are, how they are spelled, and the cookie that remembers them."""

from collections.abc import Iterator

from balancer.config.cookie import SECURE_PREFIX, longest_token
from balancer.config.finding import Finding, Key
from balancer.config.listener import ListenerConfig
from balancer.config.model import Config
from balancer.config.plain import decodes
from balancer.config.pool import PoolConfig, TokenConfig, TokenPlaceConfig
from balancer.config.scalars import shown

_ANYWHERE = ("query", "header", "cookie")
_SOURCES_OF = {
    "param": ("query", "referer"),
    "header": ("header",),
    "prefix": ("header",),
    "cookie": ("cookie",),
    "depth": ("path", "uri"),
    "leading_bytes": ("path", "uri"),
    "missing": (*_ANYWHERE, "none"),
    "duplicates": (*_ANYWHERE, "referer"),
    "decode": (*_ANYWHERE, "path", "uri"),
    "max_length": _ANYWHERE,
    "fallback": _ANYWHERE,
    "remember": (*_ANYWHERE, "none"),
    "remember_same_site": (*_ANYWHERE, "none"),
}
"""Keys of ``pool.token`` and the sources that use them."""
_NO_TOKENS = {
    *("connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade", "http2-settings"),
    *("content-length", "expect"),
}
"""Header fields that are not forwarded, or describe how a body is framed."""
_IN_URL = ("query", "referer", "path", "uri")


def token_findings(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Yield findings about tokens; ``at`` is the key of ``pool.token``."""
    token, cookie = pool.token, "" if pool.token.remember == "off" else pool.token.remember
    if pool.balance == "turns":
        if "token" in pool.model_fields_set:
            message = 'has no effect: with balance = "turns" users have no place'
            yield Finding(at, message, ((*at[:-1], "balance"),), warning=True)
        return
    if token.source == "none" and token.missing != "assign":
        message = 'places nobody: set missing = "assign" and remember, or balance = "turns" for the pool'
        yield Finding((*at, "source"), message, ((*at, "missing"),))
    if token.missing == "assign" and not cookie:
        message = "needs the name of a cookie that keeps the assigned token: set remember"
        yield Finding((*at, "missing"), message, ((*at, "remember"),))
    yield from _place(at, token, cookie)
    searched = {_identity(token)}
    for i, place in enumerate(token.fallback):
        yield from _place((*at, "fallback", i), place, cookie)
        if _identity(place) in searched:
            message = "is searched already: remove it"
            yield Finding((*at, "fallback", i), message, ((*at, "source"),), warning=True)
        searched.add(_identity(place))
    yield from _spelling(at, pool)


def remember_findings(config: Config) -> Iterator[Finding]:
    """Yield findings about the cookies that remember users."""
    pools_of: dict[str, Key] = {}
    for i, pool in enumerate(config.pool):
        token, at = pool.token, ("pool", i, "token")
        key, same_site = (*at, "remember"), (*at, "remember_same_site")
        if token.remember == "off":
            if "remember_same_site" in token.model_fields_set:
                yield Finding(same_site, "has no effect without remember", (key,), warning=True)
            continue
        if token.remember.startswith((SECURE_PREFIX, "__Secure-")):
            yield Finding(key, "the prefix __Host- is added behind TLS: leave it out")
        if key != (twin := pools_of.setdefault(token.remember, key)):
            message = "is the cookie of another pool as well: on one site each would overwrite the other's"
            yield Finding(key, message, twin=twin, warning=True)
        if config.key_file is None and config.state_dir is None:
            message = "cookies are not believed after a restart: set state_dir, or key_file"
            yield Finding(key, message, (("key_file",), ("state_dir",)), warning=True)
        listeners = [(j, each) for j, each in enumerate(config.listener) if each.mode == "http" and _leads(each, pool)]
        plain = next((j for j, each in listeners if each.tls is None and not each.trusted), None)
        if token.remember_same_site == "none" and plain is not None:
            name = config.listener[plain].name
            message = f'browsers take such a cookie only over TLS, and listener "{name}" has none'
            yield Finding(same_site, message, (key, ("listener", plain)))
        longest = min(longest_token(token.remember, token.remember_same_site, secure=each) for each in (True, False))
        if token.max_length > longest:
            message = f"tokens of more than {longest} bytes are not remembered: their cookie would exceed 4,000 bytes"
            yield Finding((*at, "max_length"), message, (key, same_site), warning=True)


def _place(at: Key, place: TokenConfig | TokenPlaceConfig, remember: str) -> Iterator[Finding]:
    source = (*at, "source")
    for key in sorted(place.model_fields_set & _SOURCES_OF.keys()):
        if place.source not in _SOURCES_OF[key]:
            sources = [each for each in _SOURCES_OF[key] if each != "referer" or isinstance(place, TokenPlaceConfig)]
            message = f"has no effect: it needs source = {' or '.join(map(shown, sources))}"
            yield Finding((*at, key), message, (source,), warning=True)
    for key in ("header", "cookie"):
        if place.source == key and getattr(place, key) is None:
            message = f'missing: source = "{key}" needs the name of the {key}'
            yield Finding((*at, key), message, (source,))
    if place.header is not None and place.header.lower() in _NO_TOKENS:
        yield Finding((*at, "header"), "describes the connection, not the user: use another header", (source,))
    if place.source == "cookie" and remember and place.cookie in (remember, SECURE_PREFIX + remember):
        message = "is the balancer's own cookie (remember): backends do not see it, so give that another name"
        yield Finding((*at, "cookie"), message, (source,))


def _identity(place: TokenConfig | TokenPlaceConfig) -> tuple[str | None, ...]:
    """What tells two places apart."""
    match place.source:
        case "query" | "referer":
            return place.source, place.param
        case "header":
            return place.source, (place.header or "").lower(), place.prefix
        case _:
            return place.source, place.cookie


def _spelling(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Settings that take two spellings of one token for two users."""
    token, decode = pool.token, (*at, "decode")
    sources = {token.source, *(place.source for place in token.fallback)}
    reads = ((*at, "source"), (*at, "fallback"), (*at[:-1], "ring"))
    if decodes(pool):
        if token.leading_bytes:
            message = "escapes are cut like other bytes, so /%7Ea and /~a may be two users: use depth"
            yield Finding((*at, "leading_bytes"), message, (*reads, decode), warning=True)
    elif sources & set(_IN_URL) and sources & {"header", "cookie"}:
        message = "a token that is escaped in the URL and not in a header or cookie is two users: set decode = true"
        yield Finding(decode, f"{message}, unless another balancer has to place alike", reads, warning=True)
    elif token.decode is False and decodes(pool.model_copy(update={"token": TokenConfig()})):
        message = "%7E, %7e and ~ in tokens make three users of one: remove it, unless users must stay where they are"
        yield Finding(decode, message, reads, warning=True)


def _leads(listener: ListenerConfig, pool: PoolConfig) -> bool:
    return pool.name in (
        listener.pool,
        *(route.pool for route in listener.route),
        *(rule.pool for rule in listener.rule),
    )
