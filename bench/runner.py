"""Run a scenario: start backends and proxies, then measure in rounds.

All proxies run for the whole scenario and take turns, and a different one begins in each round: other load of the
machine affects them alike, so their ratio within a round is more reliable than any of the numbers. The same holds for
two states of one proxy.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from balancer.demo.certificate import CertificateFiles
from bench import instructions
from bench.backends import backends
from bench.conditions import crowd, repeated
from bench.load import LoadSpec
from bench.measure import Measure, Proxy, Sample
from bench.peers.peer import Peer, Setup, Site
from bench.proc import memory
from bench.process import START_TIMEOUT, BenchError, free_ports, server
from bench.scenarios import Scenario, State

_SMALL = {"get", "many", "steady", "browser", "cookie", "tls-full", "tls-resumed", "open-close"}
"""Kinds of traffic with plain GET requests only."""

Round = dict[str, Sample]
"""One sample of each peer, by name."""
Results = dict[str, list[Round]]
"""The rounds of each state, by name."""


def run(
    scenario: Scenario,
    peers: Sequence[Peer],
    files: CertificateFiles,
    folder: Path,
    rounds: int,
    seconds: float,
    *,
    count: bool = False,
) -> Results:
    """Measure a scenario, or only ``count`` its instructions.

    Raises ``BenchError``, which names proxy and round, if a run had errors.
    """
    peers = [peer for peer in peers if scenario.suits(peer)]
    setups = list(dict.fromkeys(state.setup for state in scenario.states))
    with ExitStack() as stack:
        most = max(setup.backends for setup in setups)
        ports = stack.enter_context(backends(folder, most, small=scenario.kind in _SMALL))
        proxies = {
            (peer.name, setup): _start(
                stack, scenario, peer, setup, ports, files, folder / f"{peer.name}-{number}", count
            )
            for number, setup in enumerate(setups)
            for peer in peers
        }
        results: Results = {state.name: [] for state in scenario.states}
        for number in range(rounds):
            turns: dict[str, Round] = {name: {} for name in results}
            first = number % len(peers)
            for peer in (*peers[first:], *peers[:first]):
                for state in scenario.states[:: -1 if number % 2 else 1]:
                    try:
                        measure = instructions.instructions if count else scenario.measure
                        sample = _measured(measure, state, proxies[peer.name, state.setup], folder, seconds)
                    except BenchError as error:
                        raise BenchError(f"{scenario.name}, {peer.name}, round {number + 1}: {error}") from None
                    turns[state.name][peer.name] = sample
            for name, turn in turns.items():
                results[name].append({peer.name: turn[peer.name] for peer in peers})
        return results


def _start(
    stack: ExitStack,
    scenario: Scenario,
    peer: Peer,
    setup: Setup,
    ports: list[int],
    files: CertificateFiles,
    place: Path,
    count: bool,
) -> Proxy:
    plain, tls, admin = free_ports(3)
    place.mkdir()
    site = Site(place, plain, tls, admin, ports[: setup.backends], files.cert, files.key, setup)
    command, timeout = peer.start(site), START_TIMEOUT
    if count:
        command, timeout = instructions.under_callgrind(command, place), instructions.START_TIMEOUT
    pid = stack.enter_context(server(peer.name, command, place, [plain, tls], timeout))
    port, certificate = (tls, files.cert) if scenario.tls else (plain, None)
    spec = LoadSpec(scenario.kind, port, certificate, scenario.connections)
    return Proxy(peer, site, pid, memory(pid), spec)


def _measured(measure: Measure, state: State, proxy: Proxy, folder: Path, seconds: float) -> Sample:
    with ExitStack() as stack:
        beside: list[Sample] = []
        if state.crowd:
            beside.append(stack.enter_context(crowd(proxy, state.crowd, folder)))
        if state.event:
            beside.append(stack.enter_context(repeated(proxy, state.event)))
        sample = measure(proxy, folder, seconds)
    return {name: number for numbers in (sample, *beside) for name, number in numbers.items()}
