"""`balancer check`: validate a configuration file without running the daemon."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from balancer.cli.tables import paint
from balancer.config.load import Report
from balancer.config.model import Config
from balancer.config.plain import decodes
from balancer.control.certificates import check
from balancer.errors import Problem


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code."""
    report = check(args.config, time.time())
    print(_as_json(args.config, report) if args.json else _as_text(args.config, report))
    return 1 if report.problems else 0


def _as_json(path: Path, report: Report) -> str:
    return json.dumps(
        {
            "file": str(path),
            "ok": not report.problems,
            "problems": [asdict(each) for each in report.problems],
            "warnings": [asdict(each) for each in report.warnings],
        },
        indent=2,
    )


def _as_text(path: Path, report: Report) -> str:
    warnings = [Problem(each.file, each.line, each.key, f"warning: {each.message}") for each in report.warnings]
    found = f"{_count(report.problems, 'problem')}, {_count(report.warnings, 'warning')}"
    verdict = f"{path}: {found}" + (f"; {_size(report.config)}" if report.config else "")
    notes = [f"{path}: note: {each}" for each in _notes(report.config)] if report.config else []
    lines = [paint(str(each), "bad") for each in report.problems] + [paint(str(each), "warning") for each in warnings]
    return "\n".join([*lines, *notes, verdict if lines else paint(verdict, "good")])


def _notes(config: Config) -> Iterator[str]:
    """Yield what is right, but moves users who come from an earlier version."""
    for pool in config.pool:
        if pool.token.decode is None and pool.token.source != "client_ip" and decodes(pool):
            text = "tokens with escapes (%7E) are decoded, unlike up to version 0.1"
            yield f'pool "{pool.name}": {text}; token.decode = false keeps their users where they were'


def _size(config: Config) -> str:
    backends = [backend for pool in config.pool for backend in pool.backend]
    return f"{_count(config.listener, 'listener')}, {_count(config.pool, 'pool')}, {_count(backends, 'backend')}"


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
