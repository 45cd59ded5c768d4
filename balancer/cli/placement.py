"""`balancer ring explain|show|plan`: placement, in the running daemon or offline from configuration files."""

import argparse
import sys
import time
from pathlib import Path

from balancer.cli import ring_live
from balancer.cli.client import Client, Unreachable, configured_address
from balancer.cli.live import as_json, daemon, read_token
from balancer.config.load import load
from balancer.config.model import Config
from balancer.config.plain import token_settings
from balancer.config.pool import PoolConfig
from balancer.errors import ProxyError, Refused
from balancer.http.token import from_operator
from balancer.ring import report
from balancer.ring.build import build
from balancer.ring.explain import explain as explain_token
from balancer.ring.picture import svg
from balancer.ring.plan import plan as plan_rings

_CANDIDATES_SHOWN = 8


def explain(args: argparse.Namespace) -> str:
    """Explain where ``args.token`` is placed."""
    client = _running(args)
    if client is not None:
        return ring_live.explain(client, args)
    pool = _only_pool(_pools(args.config, args.pool))
    token = _token(pool, args.token)
    found = explain_token(build(pool), token, None if args.json else _CANDIDATES_SHOWN)
    return as_json(report.explain_json(pool.name, found)) if args.json else report.explain_text(pool.name, found)


def show(args: argparse.Namespace) -> str:
    """Show the rings."""
    client = _running(args)
    if client is not None:
        return ring_live.show(client, args)
    rings = [(pool.name, pool.ring.algorithm, build(pool)) for pool in _pools(args.config, args.pool)]
    if args.json:
        return as_json([report.show_json(*ring) for ring in rings])
    return "\n\n".join(report.show_text(*ring) for ring in rings)


def _running(args: argparse.Namespace) -> Client | None:
    """The daemon to ask; None to read the configuration file instead."""
    if args.admin is not None or args.config is None:
        return daemon(args)
    address = configured_address(args.config)
    if address is None:
        return None
    client = daemon(args)
    try:
        client.ask("GET", "/v1/pools")
    except Unreachable as error:
        print(f"{error}\nusing {args.config} alone, without pins, leases and health", file=sys.stderr)
        return None
    return client


def plan(args: argparse.Namespace) -> str:
    """Plan a change, and draw it if asked to."""
    if bool(args.changes) != (args.to is not None) and (args.config is None or args.to is None):
        text, picture = ring_live.plan(daemon(args), args)
    elif args.to is not None and args.config is not None and not args.changes:
        text, picture = _plan_files(args)
    else:
        raise Refused(
            "give the change to plan: --add, --remove, --weight, --drain, ... or --to NEW on the running daemon, "
            "or --config OLD --to NEW to compare two files"
        )
    if picture is not None:
        _write(args.svg, picture)
    return text


def _plan_files(args: argparse.Namespace) -> tuple[str, str | None]:
    before, after = _pools(args.config, args.pool), _pools(args.to, args.pool)
    names = [pool.name for pool in before]
    others = {pool.name: pool for pool in after}
    if set(names) != others.keys():
        raise Refused(
            f"the pools differ: {args.config} has {', '.join(names)} and {args.to} has {', '.join(others)}; "
            "choose one that both have with --pool"
        )
    rings = [(pool.name, build(pool), build(others[pool.name])) for pool in before]
    plans = [(name, plan_rings(old, new)) for name, old, new in rings]
    picture = None
    if args.svg:
        _only_pool(before)
        picture = svg(*rings[0][1:], plans[0][1])
    if args.json:
        return as_json([report.plan_json(*each) for each in plans]), picture
    return "\n\n".join(report.plan_text(*each) for each in plans), picture


def _pools(path: Path, name: str | None) -> list[PoolConfig]:
    """All pools of a file, or only ``name``."""
    config: Config = load(path, time.time())
    pools = [pool for pool in config.pool if name in (None, pool.name)]
    if not pools:
        raise Refused(f'{path} has no pool "{name}"; it has {", ".join(pool.name for pool in config.pool)}')
    return pools


def _only_pool(pools: list[PoolConfig]) -> PoolConfig:
    if len(pools) > 1:
        raise Refused(f"choose a pool with --pool: {', '.join(pool.name for pool in pools)}")
    return pools[0]


def _token(pool: PoolConfig, argument: str) -> bytes:
    """What a worker would hash for this token."""
    try:
        token = from_operator(read_token(argument), token_settings(pool))
    except ProxyError as error:
        raise Refused(error.reason) from None
    if token is None:
        raise Refused("the token is empty")
    return token


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from None
