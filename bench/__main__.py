"""Compare the balancer with those of its peers that are installed.

Each scenario runs in several rounds, in which the proxies take turns. Read the ratios: the numbers depend on the
machine and its other load. CPU time per operation is the cost of a proxy; operations per second and latency are those
of a machine whose processors are shared by proxy, clients and backends.
"""

import argparse
import contextlib
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from balancer.demo.certificate import make_certificate
from bench import report
from bench.peers.table import PEERS, SUBJECT
from bench.picture import svg
from bench.process import BenchError
from bench.runner import Results, run
from bench.scenarios import QUICK, SCENARIOS, Scenario

DESCRIPTORS = 32768
"""Descriptors of a process: enough for 10,000 clients and a backend connection for each."""


def main() -> int:
    """Run the benchmark; return 1 if a run had errors, which makes the results meaningless."""
    args = _parser().parse_args()
    if args.list:
        print("\n".join(f"{scenario.name:16}{scenario.about}" for scenario in SCENARIOS))
        return 0
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stop what was started
    _raise_limit()
    if args.instructions and shutil.which("valgrind") is None:
        print("error: --instructions needs valgrind (apt install valgrind)", file=sys.stderr)
        return 1
    if args.quick:
        args.rounds, args.seconds = 3, 1.0
    scenarios = args.scenario or (QUICK if args.quick else SCENARIOS)
    programs = dict(args.peer)
    known = [replace(peer, program=programs.get(peer.name, peer.program)) for peer in PEERS]
    machine = report.machine()
    outcome: list[tuple[Scenario, Results]] = []
    try:
        versions = {peer.name: peer.version() for peer in known}
        peers = [
            peer for peer in known if versions[peer.name] and (not args.only or peer.name in {SUBJECT, *args.only})
        ]
        print("; ".join(f"{name} {found or 'is not installed, left out'}" for name, found in versions.items()) + "\n")
        for scenario in scenarios:
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                folder = Path(name)
                results = run(
                    scenario,
                    peers,
                    make_certificate(folder),
                    folder,
                    args.rounds,
                    args.seconds,
                    count=args.instructions,
                )
            print(report.text(scenario, results), flush=True)
            outcome.append((scenario, results))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.svg:
        args.svg.write_text(svg(outcome, versions))
    if args.json:
        records = [report.record(scenario, results) for scenario, results in outcome]
        result = {"machine": machine, "subject": SUBJECT, "versions": versions, "scenarios": records}
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(report.summary(outcome, time.monotonic() - began))
    return 0


def _raise_limit() -> None:
    """Raise the descriptor limit for the programs to start, to ``DESCRIPTORS`` or as far as possible."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(most, DESCRIPTORS)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _scenario(name: str) -> Scenario:
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    raise argparse.ArgumentTypeError(f"unknown scenario {name}; see --list")


def _peer(given: str) -> tuple[str, str]:
    name, _, path = given.partition("=")
    if name not in {peer.name for peer in PEERS}:
        raise argparse.ArgumentTypeError(f"unknown proxy {name}: use {', '.join(peer.name for peer in PEERS)}")
    if shutil.which(path) is None:
        raise argparse.ArgumentTypeError(f"not a program: {path or given}; expected NAME=PATH")
    return name, path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", type=_scenario, help="scenarios to run (all)")
    parser.add_argument("--list", action="store_true", help="list the scenarios and exit")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each proxy (5)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="length of a turn (2)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 second, by default of four scenarios")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_peer,
        metavar="NAME=PATH",
        help="program to use for a proxy instead of the one found (for the balancer, a Python that has it installed)",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="leave out all other proxies")
    parser.add_argument(
        "--instructions", action="store_true", help="count user instructions by callgrind instead of measuring time"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios to FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
