"""Convert the validated configuration to the plain settings that workers receive."""

from collections.abc import Iterator, Mapping, Sequence

from balancer.config.contents import NamedFiles
from balancer.config.listener import ConditionConfig, ListenerConfig, RouteConfig, RuleConfig, TlsConfig
from balancer.config.model import Config, LogConfig, TimeoutsConfig
from balancer.config.pem import Pem
from balancer.config.pool import PoolConfig
from balancer.config.section import Duplicates
from balancer.config.settings import (
    CHALLENGES,
    Action,
    Answer,
    BackendSettings,
    BackendTlsSettings,
    BoundSettings,
    ChallengeFolder,
    ClientCertificates,
    ConditionSettings,
    Deny,
    FieldSettings,
    LimitSettings,
    ListenerSettings,
    LogSettings,
    PassiveSettings,
    PlaceSettings,
    PoolHealthSettings,
    PoolSettings,
    Redirect,
    RetrySettings,
    RuleSettings,
    TimeoutSettings,
    TlsSettings,
    TokenSettings,
    ToPool,
    WorkerSettings,
)

AS_RECEIVED = ("haproxy", "nginx", "ketama")
"""Algorithms of balancers that hash tokens without decoding them."""


def worker_settings(
    config: Config, files: NamedFiles, socket_keys: Mapping[str, Sequence[str]], slots: Mapping[str, int]
) -> WorkerSettings:
    """Return what a worker needs of ``config``; ``socket_keys`` and ``slots`` go by listener."""
    pems = [pem for each in files.certificates.values() for pem in each]
    covered = tuple(dict.fromkeys(name for pem in pems for name in pem.names))
    return WorkerSettings(
        listener=tuple(
            _listener(
                each,
                files,
                socket_keys[each.name],
                slots[each.name],
                pool=_home(each, config),
                covered=covered,
            )
            for each in config.listener
        ),
        pool=tuple(pool_settings(each, files.backend_tls.get(each.name, BackendTlsSettings())) for each in config.pool),
        limits=LimitSettings(**dict(config.limits)),
        timeouts=_timeouts(config.timeouts),
        log=_log(config.log),
    )


def _log(log: LogConfig) -> LogSettings:
    return LogSettings(str(log.access), log.access_format, log.facility, log.format)


def _timeouts(timeouts: TimeoutsConfig) -> TimeoutSettings:
    given = timeouts.model_dump(exclude={"hang", "lame"})
    return TimeoutSettings(**{**given, "keep_alive": timeouts.keep_alive or timeouts.idle})


def pool_settings(pool: PoolConfig, tls: BackendTlsSettings) -> PoolSettings:
    """Return what a worker needs of a pool; ``tls`` holds the contents of its certificate files."""
    health = pool.health
    return PoolSettings(
        name=pool.name,
        token=token_settings(pool),
        ring=BoundSettings(pool.ring.bound, pool.ring.hash_balance_factor),
        health=PoolHealthSettings(
            pool.panic_threshold(), health.on_down, PassiveSettings(health.passive.mode, health.passive.outcomes)
        ),
        tls=tls,
        send_proxy=pool.send_proxy,
        tier=pool.tier,
        retry=RetrySettings(**dict(pool.retry)),
        max_connections=pool.max_connections,
        queue=pool.queue,
        queue_timeout=pool.queue_timeout,
        when_full=pool.when_full,
        linger=pool.linger,
        request_fields=FieldSettings(**dict(pool.request_fields)),
        response_fields=FieldSettings(**dict(pool.response_fields)),
        backend=tuple(BackendSettings(each.name, each.max_connections, each.server_name) for each in pool.backend),
    )


def token_settings(pool: PoolConfig) -> TokenSettings:
    """Return where the tokens of a pool are; what the file leaves open depends on the ring and on the source."""
    if pool.balance == "turns":
        return TokenSettings(source="none", missing="spread")
    token, decode = pool.token, decodes(pool)
    places = tuple(
        PlaceSettings(
            **{**dict(place), "duplicates": place.duplicates or _duplicates(place.source)},
            decode=decode,
            max_length=token.max_length,
        )
        for place in token.fallback
    )
    duplicates = token.duplicates or _duplicates(token.source)
    return TokenSettings(**{**dict(token), "fallback": places, "duplicates": duplicates, "decode": decode})


def decodes(pool: PoolConfig) -> bool:
    """Return whether tokens are percent-decoded: ``pool.token.decode``, or its default."""
    if pool.token.decode is not None:
        return pool.token.decode
    rings = (pool.ring, pool.ring.before)
    return not any(ring is not None and ring.algorithm in AS_RECEIVED for ring in rings)


def _duplicates(source: str) -> Duplicates:
    return "first" if source == "cookie" else "refuse"


def _listener(
    listener: ListenerConfig,
    files: NamedFiles,
    keys: Sequence[str],
    slot: int,
    *,
    pool: str,
    covered: tuple[str, ...],
) -> ListenerSettings:
    tls = listener.tls
    return ListenerSettings(
        name=listener.name,
        pool=pool,
        mode=listener.mode,
        key=listener.key,
        proxy_protocol=listener.proxy_protocol,
        max_connections=listener.max_connections,
        trusted=tuple(map(str, listener.trusted)),
        forwarded=listener.forwarded,
        request_fields=FieldSettings(**dict(listener.request_fields)),
        response_fields=FieldSettings(**dict(listener.response_fields)),
        error_pages=dict(files.error_pages.get(listener.name, {})),
        tls=tls_settings(tls, files.certificates[listener.name], files.clients.get(listener.name)) if tls else None,
        rule=(
            *map(_rule, listener.rule),
            *_challenges(listener),
            *map(_route, listener.route),
            *_redirect(listener, covered),
        ),
        socket_keys=tuple(keys),
        slot=slot,
    )


def tls_settings(tls: TlsConfig, certificates: Sequence[Pem], client: ClientCertificates | None) -> TlsSettings:
    """Return how a listener terminates TLS with these ``certificates``."""
    return TlsSettings(tuple(certificates), tls.min_version, client)


def _home(listener: ListenerConfig, config: Config) -> str:
    """Return the pool that a listener's requests are counted in, unless a rule sends them to another."""
    own = (listener.pool, listener.acme_challenge.pool if listener.acme_challenge else None)
    return next((name for name in own if name is not None), config.pool[0].name)


def _challenges(listener: ListenerConfig) -> Iterator[RuleSettings]:
    acme = listener.acme_challenge
    when = ConditionSettings(path_prefix=(CHALLENGES,))
    if acme is not None and acme.pool is not None:
        yield RuleSettings(ToPool(acme.pool), when)
    elif acme is not None and acme.folder is not None:
        yield RuleSettings(ChallengeFolder(str(acme.folder)), when)


def _redirect(listener: ListenerConfig, covered: tuple[str, ...]) -> Iterator[RuleSettings]:
    if listener.redirect is not None:
        host = listener.redirect.partition("://")[2] or None
        yield RuleSettings(Redirect(308, scheme="https", host=host, covered=covered), ConditionSettings())


def _rule(rule: RuleConfig) -> RuleSettings:
    return RuleSettings(_action(rule), _condition(rule), tuple(map(_condition, rule.unless)))


def _route(route: RouteConfig) -> RuleSettings:
    when = ConditionSettings(host=route.host, path=route.path, path_prefix=route.path_prefix, sni=route.sni)
    return RuleSettings(ToPool(route.pool), when)


def _condition(condition: ConditionConfig) -> ConditionSettings:
    given = {name: getattr(condition, name) for name in ConditionSettings.__struct_fields__}
    return ConditionSettings(**{**given, "client": tuple(map(str, condition.client))})


def _action(rule: RuleConfig) -> Action:
    if rule.deny is not None:
        return Deny(rule.deny)
    if rule.redirect is not None:
        return Redirect(**dict(rule.redirect))
    if rule.answer is not None:
        return Answer(rule.answer.status, rule.answer.type, rule.answer.text.encode())
    assert rule.pool is not None
    return ToPool(rule.pool)
