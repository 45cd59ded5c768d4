"""The rehearsal of this version by the one that runs: read all that would be taken over, and compare what follows.

It runs as a child of the running supervisor, with what that would hand over and the memory of its control process. It
writes ``Findings`` to standard output, and changes nothing anywhere.
"""

import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import msgspec

from balancer.config.difference import differences
from balancer.config.model import Config
from balancer.control import active_config, saved_counters
from balancer.control.pool_state import extended
from balancer.control.sockets import workers_of
from balancer.errors import Refused
from balancer.ipc.supervision import RingFacts, WantUpgrade
from balancer.net.memory import available
from balancer.overlay.overlay import Overlay
from balancer.ring.build import build
from balancer.shared.version import VERSION
from balancer.store.memory_file import MemoryFile
from balancer.store.peek import peek
from balancer.store.snapshot import Snapshot
from balancer.upgrade import state
from balancer.upgrade.findings import Findings
from balancer.upgrade.state import Handover

WORKER_MEMORY = 64 << 20
"""Bytes that a worker takes beside its connections, at most."""
SPARE_DESCRIPTORS = 64
"""Descriptors that the supervisor needs to take over, beside those of the new workers."""
DESCRIPTORS_EACH = 8
"""Descriptors of the supervisor for each worker."""
_MOVING = {"ring", "token", "backend", "route", "rule", "pool", "mode", "key"}
"""Keys of pools and listeners that say where users go."""


def main() -> int:
    """Rehearse; the argument is the descriptor of what would be handed over."""
    findings = Findings(VERSION, platform.python_version())
    try:
        wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=WantUpgrade)
        handed = state.load(state.read(int(sys.argv[1])))
        import_module("balancer.daemon.control")  # what could not be imported cannot take over either
        import_module("balancer.daemon.worker")
        import_module("balancer.daemon.supervisor")
        _rehearse(handed, wanted, findings)
    except Refused as error:
        findings.problems.append(str(error))
    sys.stdout.buffer.write(msgspec.json.encode(findings))
    return 0


def _rehearse(handed: Handover, wanted: WantUpgrade, findings: Findings) -> None:
    """Fill in ``findings``. Raise ``Refused`` for what cannot be read."""
    memory, counters = (MemoryFile(fd).load() for fd in handed.memory)
    if memory is None:
        raise Refused("the daemon has no active configuration yet")
    saved_counters.read(counters)
    remembered = active_config.read(memory)
    config = remembered.active.config
    moves = list(_moved(config, peek(Path(remembered.folder)), wanted.rings))
    for each in differences(active_config.read_filled(memory), config):
        (moves if _MOVING & {part.split(" ")[0] for part in each.key.split(" > ")[1:]} else findings.notes).append(
            f"another default: {each.text}"
        )
    if wanted.allow_moves or not moves:
        findings.notes += moves
    else:
        findings.problems.append(f"it would move users (--allow-moves permits that): {'; '.join(moves)}")
    findings.problems += _lacking(workers_of(config))


def _moved(config: Config, snapshot: Snapshot, rings: Mapping[str, RingFacts]) -> Iterator[str]:
    """Yield the pools whose active ring would be another one. Raise ``Refused`` for one that could not be built."""
    for pool in config.pool:
        if pool.name in rings:
            facts = rings[pool.name]
            ring = build(extended(pool, snapshot.overlays.get(pool.name, Overlay())), facts.weights)
            if ring.fingerprint != facts.fingerprint:
                yield f"pool {pool.name} would have ring {ring.fingerprint} in place of {facts.fingerprint}"


def _lacking(workers: int) -> Iterator[str]:
    """Yield what there is too little of for one more set of workers."""
    needed, free = workers * WORKER_MEMORY, available()
    if free < needed:
        yield f"{workers} more workers need {needed >> 20} MiB of memory, and {free >> 20} MiB are free"
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    left = limit - len(os.listdir(f"/proc/{os.getppid()}/fd"))
    if limit != resource.RLIM_INFINITY and left < SPARE_DESCRIPTORS + DESCRIPTORS_EACH * workers:
        yield f"the supervisor has only {left} file descriptors left (LimitNOFILE)"
