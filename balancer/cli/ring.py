"""`balancer ring explain|show|plan`: placement, looked at from configuration files without a daemon."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from balancer.config.load import load
from balancer.config.model import Config, Pool
from balancer.errors import ConfigError, ProxyError, Refused
from balancer.http.token import extract
from balancer.ring import report
from balancer.ring.build import build
from balancer.ring.explain import explain
from balancer.ring.picture import svg
from balancer.ring.plan import plan

_CANDIDATES_SHOWN = 8


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its own verbs to the command's parser."""
    group = verbs.add_parser("ring", help="explain, show and plan placement")
    own = group.add_subparsers(metavar="VERB", required=True)
    parser = _verb(own, "explain", _explain, "where a token goes, and why")
    parser.add_argument("token", metavar="TOKEN", help="as it stands in the URL; - reads it from standard input")
    _verb(own, "show", _show, "shares, points and balance of each backend")
    parser = _verb(own, "plan", _plan, "what a change of the configuration would move")
    parser.add_argument("--to", required=True, type=Path, metavar="NEW", help="the configuration to change to")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw the ring before and after (one pool)")


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], str],
    about: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=about, description=about)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration of the daemon")
    parser.add_argument("--pool", metavar="NAME", help="one pool only")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=lambda args: _answer(run, args))
    return parser


def _answer(run: Callable[[argparse.Namespace], str], args: argparse.Namespace) -> int:
    try:
        print(run(args))
    except (ConfigError, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _explain(args: argparse.Namespace) -> str:
    pool = _one(_pools(args.config, args.pool))
    token = _token(pool, args.token)
    found = explain(build(pool), token, None if args.json else _CANDIDATES_SHOWN)
    return _json(report.explain_json(pool.name, found)) if args.json else report.explain_text(pool.name, found)


def _show(args: argparse.Namespace) -> str:
    rings = [(pool.name, pool.ring.algorithm, build(pool)) for pool in _pools(args.config, args.pool)]
    if args.json:
        return _json([report.show_json(*ring) for ring in rings])
    return "\n\n".join(report.show_text(*ring) for ring in rings)


def _plan(args: argparse.Namespace) -> str:
    before, after = _pools(args.config, args.pool), _pools(args.to, args.pool)
    names = [pool.name for pool in before]
    others = {pool.name: pool for pool in after}
    if set(names) != others.keys():
        raise Refused(
            f"the pools differ: {args.config} has {', '.join(names)} and {args.to} has {', '.join(others)}; "
            "name one that both have with --pool"
        )
    rings = [(pool.name, build(pool), build(others[pool.name])) for pool in before]
    plans = [(name, plan(old, new)) for name, old, new in rings]
    if args.svg:
        _one(before)
        _write(args.svg, svg(*rings[0][1:], plans[0][1]))
    if args.json:
        return _json([report.plan_json(*each) for each in plans])
    return "\n\n".join(report.plan_text(*each) for each in plans)


def _pools(path: Path, name: str | None) -> list[Pool]:
    """The pools of a file, or the one of this name."""
    config: Config = load(path, time.time())
    pools = [pool for pool in config.pool if name in (None, pool.name)]
    if not pools:
        raise Refused(f'{path} has no pool "{name}"; it has {", ".join(pool.name for pool in config.pool)}')
    return pools


def _one(pools: list[Pool]) -> Pool:
    if len(pools) > 1:
        raise Refused(f"choose a pool with --pool: {', '.join(pool.name for pool in pools)}")
    return pools[0]


def _token(pool: Pool, argument: str) -> bytes:
    """What the data plane would hash for a URL with this token."""
    raw = sys.stdin.buffer.readline().rstrip(b"\r\n") if argument == "-" else os.fsencode(argument)
    try:
        token = extract(b"/?%b=%b" % (pool.token.param.encode(), raw), pool.token)
    except ProxyError as error:
        raise Refused(error.reason) from None
    if token is None:
        raise Refused("the token is empty")
    return token


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from None


def _json(value: object) -> str:
    return json.dumps(value, indent=2)
