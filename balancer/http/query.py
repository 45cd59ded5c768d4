"""Find the values of a parameter in a query, in one of two forms (``http.scan``).

Parameters are separated by ``&``; names are compared byte for byte, and a piece without ``=`` is not a parameter.
"""

import re
from functools import cache

from balancer.shared.compiled import COMPILED, i64


def values(target: bytes, name: str) -> list[bytes]:
    """Return the values of the parameter ``name`` in the query of ``target``, which follows the first ``?``."""
    return by_bytes(target, name) if COMPILED else by_expression(target, name)


def by_expression(target: bytes, name: str) -> list[bytes]:
    """Find as ``values``: the form for the interpreter."""
    return _parameter(name).findall(target.partition(b"?")[2])


@cache
def _parameter(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|&)%b=([^&]*+)" % re.escape(name.encode()))


def by_bytes(target: bytes, name: str) -> list[bytes]:
    """Find as ``values``: the form for the compiler."""
    found: list[bytes] = []
    wanted = name.encode()
    long: i64 = len(wanted)
    size: i64 = len(target)
    at: i64 = 0
    while at < size and target[at] != 63:
        at += 1
    at += 1
    while at < size:
        matched: i64 = 0
        while matched < long and at + matched < size and target[at + matched] == wanted[matched]:
            matched += 1
        begin: i64 = 0
        if matched == long and at + long < size and target[at + long] == 61:
            at += long + 1
            begin = at
        while at < size and target[at] != 38:
            at += 1
        if begin:
            found.append(target[begin:at])
        at += 1
    return found
