"""``python -m bench``: the balancer beside its peers, as far as they are installed.

Each scenario runs in several rounds with the proxies taking turns. Read the ratios: the numbers themselves depend on
the machine and on what else it does. CPU time per operation is what a proxy costs; operations per second and latency
are those of a machine on which proxy, clients and backends share the processors.
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
"""Descriptors of a process: for 10,000 clients, and a backend's connection for each."""


def main() -> int:
    """Exit code 0, or 1 when a run had errors and nothing can be said."""
    args = _parser().parse_args()
    if args.list:
        print("\n".join(f"{scenario.name:16}{scenario.about}" for scenario in SCENARIOS))
        return 0
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is stopped
    _raise_limit()
    if args.quick:
        args.rounds, args.seconds = 3, 1.0
    scenarios = args.scenario or (QUICK if args.quick else SCENARIOS)
    programs = dict(args.peer)
    known = [replace(peer, program=programs.get(peer.name, peer.program)) for peer in PEERS]
    machine = report.machine()
    outcome: list[tuple[Scenario, Results]] = []
    try:
        versions = {peer.name: peer.version() for peer in known}
        peers = [peer for peer in known if versions[peer.name]]
        print("; ".join(f"{name} {found or 'is not installed: left out'}" for name, found in versions.items()) + "\n")
        for scenario in scenarios:
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                folder = Path(name)
                results = run(scenario, peers, make_certificate(folder), folder, args.rounds, args.seconds)
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
    """Descriptors for the programs that are started: as many as they need, or as there may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # only root may have more
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(most, DESCRIPTORS)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _scenario(name: str) -> Scenario:
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    raise argparse.ArgumentTypeError(f"there is no {name}; there are {', '.join(each.name for each in SCENARIOS)}")


def _peer(given: str) -> tuple[str, str]:
    name, _, path = given.partition("=")
    if name not in {peer.name for peer in PEERS}:
        raise argparse.ArgumentTypeError(f"there is no {name}; there are {', '.join(peer.name for peer in PEERS)}")
    if shutil.which(path) is None:
        raise argparse.ArgumentTypeError(f"{path or 'nothing'} is not a program: give NAME=PATH")
    return name, path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", type=_scenario, help="what to measure (all)")
    parser.add_argument("--list", action="store_true", help="say what there is to measure, and end")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each proxy (5)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="length of a turn (2)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 second, of the first four unless told")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_peer,
        metavar="NAME=PATH",
        help="the program of a proxy (for the balancer, a Python that has it), instead of the one that is found",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to a file")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios into a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
