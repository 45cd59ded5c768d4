"""A scenario from start to end: backends, proxies, load, rounds.

All proxies are up for the whole scenario and take turns, and who begins changes from round to round: whatever else the
machine does hits them alike, so their ratio within a round is worth more than any of the numbers.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from balancer.demo.certificate import CertificateFiles
from bench.backends import backends
from bench.load import Aim, load
from bench.measure import Sample, measure
from bench.peers import Peer, Site
from bench.process import BenchError, free_ports, server
from bench.scenarios import Scenario

WARM_UP = 0.5
"""Seconds of load that nobody counts before a proxy's every run, at most as long as the run."""

Round = dict[str, Sample]
"""One sample of each peer, by its name."""


def run(
    scenario: Scenario, peers: Sequence[Peer], files: CertificateFiles, folder: Path, rounds: int, seconds: float
) -> list[Round]:
    """Measure. Raises ``BenchError``, saying where, when any run had errors."""
    with ExitStack() as stack:
        ports = stack.enter_context(backends(scenario.kind, folder))
        aims: dict[str, tuple[Aim, int]] = {}
        for peer in peers:
            plain, tls = free_ports(2)
            place = folder / peer.name
            place.mkdir()
            site = Site(place, plain, tls, ports, files.cert, files.key)
            pid = stack.enter_context(server(peer.name, peer.command(site), place, [plain, tls]))
            certificate = files.cert if scenario.tls else None
            aims[peer.name] = Aim(scenario.kind, tls if scenario.tls else plain, certificate, scenario.connections), pid
        done = []
        for number in range(rounds):
            first = number % len(peers)
            turn = {}
            for peer in (*peers[first:], *peers[:first]):
                aim, pid = aims[peer.name]
                try:
                    with load(aim, folder) as generator:
                        generator.run(min(WARM_UP, seconds))
                        turn[peer.name] = measure(generator, seconds, pid)
                except BenchError as error:
                    raise BenchError(f"{scenario.name}, {peer.name}, round {number + 1}: {error}") from None
            done.append(turn)
        return done
