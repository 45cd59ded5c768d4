"""Variables that hold the token: ``http-request set-var`` from several places, used in ``balance hash var(...)``.

A rule whose sample finds nothing leaves the variable as it is. So of several rules the last one that finds something
counts, unless it is only for requests whose variable is not set yet: ``unless { var(...) -m found }``, or the condition
``ifnotexists`` beside the name (haproxy 2.8). Names that begin with ``sess.`` or ``proc.`` keep their value for further
requests, which no place in a request can express.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from balancer.config.scalars import shown
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.words import Line

_HASHED = re.compile(r"var\(((?:txn|req)\.[A-Za-z0-9_.]+)\)")
_SET = re.compile(r"(?:set-var|set-var-fmt|unset-var)\(([A-Za-z0-9_.]+)(?:,([a-z,]+))?(?:,.*)?\)")
_ENDS = ("allow", "accept")
"""Actions after which further rules are not applied."""


@dataclass(frozen=True)
class Sample:
    """An expression that finds the token, and the rule it stands in."""

    expression: str
    line: Line


def hashed_variable(proxy: Proxy) -> str:
    """Return the variable that places requests, or an empty string."""
    line = proxy.last("balance")
    match = _HASHED.fullmatch(line.words[2]) if line and line.words[1:2] == ("hash",) and len(line.words) == 3 else None
    return match[1] if match else ""


def hashed_variables(proxies: Iterable[Proxy]) -> set[str]:
    """Return all variables that place requests; rules that set them are converted with their backend."""
    return {hashed_variable(proxy) for proxy in proxies if proxy.balances} - {""}


def sets(line: Line) -> str:
    """Return the variable that a rule sets, or an empty string."""
    match = _SET.fullmatch(line.words[1]) if line.words[0] == "http-request" and len(line.words) > 1 else None
    return match[1] if match else ""


def samples(name: str, proxy: Proxy, fronts: Sequence[Proxy]) -> list[Sample]:
    """Return where ``name`` comes from for requests to ``proxy``, the place that counts most first.

    ``fronts`` lead to it. Raise ``ValueError`` if it cannot be told.
    """
    found = [_order(name, [front] if front.name == proxy.name else [front, proxy]) for front in fronts or [proxy]]
    if any([each.expression for each in other] != [each.expression for each in found[0]] for other in found[1:]):
        raise ValueError(f"the frontends set {name} in different ways: give each of them a backend of its own")
    if not found[0]:
        raise ValueError(f"nothing sets {name}")
    return found[0]


def _order(name: str, through: Sequence[Proxy]) -> list[Sample]:
    found: list[Sample] = []
    for proxy in through:
        ended: Line | None = None
        for line in proxy.all("http-request"):
            if line.words[1:2] and line.words[1] in _ENDS:
                ended = line
            if sets(line) != name:
                continue
            if ended is not None:
                raise ValueError(f"requests that {ended} allows skip {line}: their users cannot be placed as there")
            sample, last = _assignment(name, line, found, proxy)
            others = [each for each in found if each.expression != sample.expression]
            if not last:
                found = [sample, *others]
            elif len(others) == len(found):
                found.append(sample)
    return found


def _assignment(name: str, line: Line, before: Sequence[Sample], proxy: Proxy) -> tuple[Sample, bool]:
    """What a rule sets, and whether only if nothing did before."""
    start = next((at for at, word in enumerate(line.words) if word in ("if", "unless")), len(line.words))
    expression, condition = line.words[2:start], list(line.words[start:])
    match = _SET.fullmatch(line.words[1])
    if match is None or not line.words[1].startswith("set-var(") or len(expression) != 1:
        raise ValueError(f"the value that {line} gives {name} cannot be computed here")
    if match[2] not in (None, "ifnotexists", "ifnotset"):
        raise ValueError(f"the condition {shown(match[2])} of {name} has no counterpart")
    last = match[2] is not None
    sample = Sample(expression[0], line)
    if condition:
        negated, tested = _tested(condition, proxy)
        if (negated and tested == f"var({name})") or (negated and [tested] == [each.expression for each in before]):
            last = True
        elif negated or tested != sample.expression:
            raise ValueError(f"the condition of {name} in {line} has no counterpart: only whether it is set already")
    return sample, last


def _tested(condition: list[str], proxy: Proxy) -> tuple[bool, str]:
    """Whether a condition is negated, and the sample whose presence it tests; an empty one for any other test."""
    negated = condition[0] == "unless"
    words = " ".join(condition[1:])
    if words.startswith("!"):
        negated, words = not negated, words[1:].strip()
    if words.startswith("{") and words.endswith("}"):
        words = words[1:-1].strip()
    else:
        named = [line.words[2:] for line in proxy.all("acl") if line.words[1:2] == (words,)]
        words = " ".join(named[0]) if len(named) == 1 else ""
    sample, _, test = words.partition(" ")
    return negated, sample if test == "-m found" else ""
