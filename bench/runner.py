"""A scenario from start to end: backends, proxies, load, rounds.

All proxies are up for the whole scenario and take turns, and who begins changes from round to round: whatever else the
machine does hits them alike, so their ratio within a round is worth more than any of the numbers.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from balancer.demo.certificate import CertificateFiles
from bench.backends import backends
from bench.load import Aim
from bench.measure import Proxy, Sample
from bench.peers.peer import Peer, Site
from bench.proc import resident
from bench.process import BenchError, free_ports, server
from bench.scenarios import Scenario

_SMALL = {"get", "browser", "visit", "resume", "knock"}
"""Kinds of traffic whose requests are GET without anything special about them."""

Round = dict[str, Sample]
"""One sample of each peer, by its name."""


def run(
    scenario: Scenario, peers: Sequence[Peer], files: CertificateFiles, folder: Path, rounds: int, seconds: float
) -> list[Round]:
    """Measure. Raises ``BenchError``, saying where, when any run had errors."""
    with ExitStack() as stack:
        ports = stack.enter_context(backends(folder, small=scenario.kind in _SMALL))
        up: dict[str, tuple[Proxy, Aim]] = {}
        for peer in peers:
            plain, tls = free_ports(2)
            place = folder / peer.name
            place.mkdir()
            site = Site(place, plain, tls, ports, files.cert, files.key)
            pid = stack.enter_context(server(peer.name, peer.start(site), place, [plain, tls]))
            certificate = files.cert if scenario.tls else None
            aim = Aim(scenario.kind, tls if scenario.tls else plain, certificate, scenario.connections)
            up[peer.name] = Proxy(pid, resident(pid)), aim
        done = []
        for number in range(rounds):
            first = number % len(peers)
            turn = {}
            for peer in (*peers[first:], *peers[:first]):
                proxy, aim = up[peer.name]
                try:
                    turn[peer.name] = scenario.measure(proxy, aim, folder, seconds)
                except BenchError as error:
                    raise BenchError(f"{scenario.name}, {peer.name}, round {number + 1}: {error}") from None
            done.append(turn)
        return done
