"""Read complete logs: find the pool of each line and count lines without information."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from balancer.migrate.logs.entry import LoggedRequest, Parse
from balancer.migrate.verify import Verifier

_SHOWN = 5
_GROUPS_KEPT = 100


@dataclass
class Reading:
    """What the files contain besides requests of our pools."""

    lines: int = 0
    unreadable: int = 0
    """Lines that are neither a request nor a state change of a server, or are truncated."""
    first_unreadable: list[str] = field(default_factory=list)
    """Positions of the first of them."""
    others: Counter[str] = field(default_factory=Counter)
    """Requests of other backends (haproxy) or upstreams (nginx) by name; the empty name if the log does not say."""


def read(file: str, lines: Iterable[bytes], parse: Parse, verifiers: Mapping[str, Verifier], into: Reading) -> None:
    """Compare the requests in ``lines`` of ``file`` with pools, which are keyed by the other balancer's names."""
    for number, line in enumerate(lines, 1):
        into.lines += 1
        entry = parse(line)
        if entry is None:
            into.unreadable += 1
            if len(into.first_unreadable) < _SHOWN:
                into.first_unreadable.append(f"{file}:{number}")
        elif isinstance(entry, LoggedRequest):
            verifier = _pool_of(entry, verifiers)
            if verifier is not None:
                verifier.request(entry, f"{file}:{number}")
            elif (group := entry.group or "") in into.others or len(into.others) < _GROUPS_KEPT:
                into.others[group] += 1
        elif entry.group in verifiers:
            verifiers[entry.group].change(entry)


def _pool_of(request: LoggedRequest, verifiers: Mapping[str, Verifier]) -> Verifier | None:
    if request.group is not None:
        return verifiers.get(request.group)
    if len(verifiers) == 1:
        return next(iter(verifiers.values()))
    return next((each for each in verifiers.values() if any(map(each.knows, request.servers))), None)
