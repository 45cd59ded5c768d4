"""`balancer ring verify`: check that a configuration places users as haproxy or nginx does."""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path

from balancer.cli import verify_against
from balancer.cli.live import as_json, run_verb
from balancer.config.load import load
from balancer.config.model import Config
from balancer.config.pool import PoolConfig
from balancer.errors import Refused
from balancer.migrate import verify_report
from balancer.migrate.logs import haproxy, nginx
from balancer.migrate.logs.entry import Change, Parse
from balancer.migrate.logs.lines import lines
from balancer.migrate.verify import Verifier, VerifyResult
from balancer.migrate.verify_logs import Reading, read
from balancer.pool.digest import Digest


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code."""
    verdicts: list[VerifyResult] = []
    code = run_verb(lambda each: _verify(each, verdicts), args)
    return code or (0 if all(verdict.proved for verdict in verdicts) else 1)


def _verify(args: argparse.Namespace, verdicts: list[VerifyResult]) -> str:
    if bool(args.logs) == (args.against is not None):
        raise Refused("give log files to read, or --against URL to send probes to a running balancer")
    config = load(args.config, time.time())
    pools = _pools(config, args)
    digest = Digest(os.urandom(32))
    verifiers = {
        args.backend or pool.name: Verifier(pool, digest, by_address=_by_address(config, pool)) for pool in pools
    }
    for mark in args.mark:
        _mark(mark, verifiers)
    for name in args.down:
        _down(name, verifiers)
    reading = Reading()
    if args.against is not None:
        verify_against.send_probes(args, pools, next(iter(verifiers.values())))
    else:
        parse = _parser(args.format, pools)
        for name in args.logs:
            _read(name, parse, verifiers, reading)
    verdicts += [verifier.verdict() for verifier in verifiers.values()]
    if args.json:
        found: dict[str, object] = {"pools": [verify_report.verdict_json(verdict) for verdict in verdicts]}
        return as_json({"log": verify_report.reading_json(reading), **found} if args.logs else found)
    texts = [verify_report.verdict_text(verdict) for verdict in verdicts]
    return "\n".join([verify_report.reading_text(reading), *texts] if args.logs else texts)


def _mark(given: str, verifiers: dict[str, Verifier]) -> None:
    mark, _, name = given.rpartition("=")
    knowing = [verifier for verifier in verifiers.values() if mark and verifier.knows(name)]
    if not knowing:
        raise Refused("--mark expects MARK=NAME, with the name of a backend")
    for verifier in knowing:
        verifier.labels[mark] = verifier.labels[name]


def _down(name: str, verifiers: dict[str, Verifier]) -> None:
    knowing = [verifier for verifier in verifiers.values() if verifier.knows(name)]
    if not knowing:
        raise Refused(f'--down: no pool has a backend "{name}"')
    for verifier in knowing:
        verifier.change(Change(0, "", name, up=False))


def _pools(config: Config, args: argparse.Namespace) -> list[PoolConfig]:
    pools = [pool for pool in config.pool if args.pool in (None, pool.name)]
    if not pools:
        raise Refused(f'{args.config} has no pool "{args.pool}"; it has {", ".join(pool.name for pool in config.pool)}')
    if args.backend is not None and len(pools) > 1:
        raise Refused(f"--backend needs a single pool: choose it with --pool: {', '.join(pool.name for pool in pools)}")
    return pools


def _by_address(config: Config, pool: PoolConfig) -> bool:
    """Whether the pool is used only in ``tcp`` mode, where client addresses are hashed."""
    modes = {(each.mode, each.key) for each in config.listener if each.pool == pool.name}
    return bool(modes) and all(mode == ("tcp", "client_ip") for mode in modes)


def _parser(layout: str | None, pools: list[PoolConfig]) -> Parse:
    if layout is None:
        return haproxy.detector()
    if layout.startswith("@"):
        layout = _text(Path(layout[1:]))
    if "$" in layout and "%" not in layout:
        return nginx.parser(layout, pools[0].token)
    if layout not in haproxy.FORMATS and "%" not in layout:
        raise Refused(f'unknown format "{layout}": give {", ".join(haproxy.FORMATS)}, or the text of a log format')
    return haproxy.parser(layout)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip("\n")
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is not valid UTF-8") from None


def _read(name: str, parse: Parse, verifiers: dict[str, Verifier], reading: Reading) -> None:
    try:
        with ExitStack() as stack:
            file = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            assert isinstance(file, BufferedReader)
            read(name, lines(file), parse, verifiers, reading)
    except OSError as error:
        raise Refused(f"cannot read {name}: {error.strerror or error}") from None
