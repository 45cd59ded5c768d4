"""The screen of `balancer top`: lines from two successive samples of the daemon's status. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from balancer.cli.status import closes_text, panic_alarm, state_cell, up_cell, warnings, weight_text
from balancer.cli.tables import TableCell, count
from balancer.config.scalars import format_duration

Line = list[TableCell]
Key = tuple[str, str]
"""Pool and name of a backend."""

_GAP = "  "
_LONGEST = 28
"""Characters of a cell, at most."""


class Sample:
    """The daemon's status at a time, with the sample before it, from which rates are computed.

    ``at`` is in seconds of a monotonic clock.
    """

    def __init__(self, found: dict[str, Any], at: float, former: "Sample | None" = None) -> None:
        self.found = found
        self.at = at
        self.pools = {pool["name"]: pool for pool in found["pools"]}
        self.backends: dict[Key, dict[str, Any]] = {
            (pool["name"], backend["name"]): backend for pool in found["pools"] for backend in pool["backend"]
        }
        same = former is not None and former.found["started"] == found["started"]
        self._former = former if same else None  # a restarted daemon counts from 0
        if former is not None:
            former._former = None

    def rate(self, number: Callable[["Sample"], float]) -> float | None:
        """Return the growth of a number per second; None if the sample before does not have it."""
        if self._former is None or self.at <= self._former.at:
            return None
        try:
            return max(0.0, number(self) - number(self._former)) / (self.at - self._former.at)
        except KeyError:  # a backend that is new
            return None


@dataclass(frozen=True)
class _Column:
    head: str
    priority: int
    """On a narrow screen, columns of the lowest priority are left out."""
    cell: Callable[[Sample, Key, dict[str, Any]], TableCell]
    right: bool = True


def _text(text: Callable[[dict[str, Any]], str]) -> Callable[[Sample, Key, dict[str, Any]], TableCell]:
    return lambda _, __, backend: TableCell(text(backend))


def _rate(*names: str, colour: str = "") -> Callable[[Sample, Key, dict[str, Any]], TableCell]:
    def cell(sample: Sample, key: Key, _: dict[str, Any]) -> TableCell:
        rate = sample.rate(lambda each: sum(each.backends[key][name] for name in names))
        return TableCell(short(rate), colour if rate else "")

    return cell


_COLUMNS = (
    _Column("BACKEND", 99, _text(lambda backend: backend["name"]), right=False),
    _Column("ADDRESS", 1, _text(lambda backend: backend["address"]), right=False),
    _Column("STATE", 98, lambda _, __, backend: state_cell(backend), right=False),
    _Column("HEALTH", 97, lambda _, __, backend: up_cell(backend), right=False),
    _Column("WEIGHT", 6, _text(lambda backend: weight_text(backend)), right=False),
    _Column("CLOSES", 92, _text(lambda backend: closes_text(backend)), right=False),
    _Column("SHARE", 4, _text(lambda backend: "" if backend["share"] is None else f"{backend['share']:.1%}")),
    _Column("USERS", 96, _text(lambda backend: str(backend["users"]))),
    _Column("TUNNELS", 95, _text(lambda backend: str(backend["tunnels"]))),
    _Column("SESSIONS", 5, _text(lambda backend: str(backend["sessions"]))),
    _Column("REQ/S", 94, _rate("requests")),
    _Column("ERR/S", 93, _rate("connect_errors", "response_errors", colour="bad")),
    _Column("SENT/S", 3, _rate("bytes_sent")),
    _Column("RECV/S", 2, _rate("bytes_received")),
)


def head(sample: Sample, address: str, error: str) -> list[Line]:
    """Return the lines about the daemon as a whole; ``error`` is why the status could not be updated."""
    found = sample.found
    opened = sample.rate(lambda each: sum(one["connections"] for one in each.found["listeners"].values()))
    return [
        [
            TableCell(f"balancer {found['version']}", "head"),
            TableCell(f" at {address}, up {format_duration(found['uptime'])}"),
        ],
        [TableCell(f"{found['connections']} of {found['max_connections']} connections, {short(opened)} new/s")],
        *([[TableCell(error, "bad")]] if error else []),
        *[[TableCell(line, "warning")] for line in warnings(found)],
    ]


def table(sample: Sample, selected: Key | None, width: int) -> tuple[list[Line], int]:
    """Return the lines of all pools and backends, in ``width`` columns, and the index of the ``selected`` one."""
    lines: list[Line] = []
    place = 0
    columns, widths = _fitting(sample, width)
    for name, pool in sample.pools.items():
        lines += [*([[]] if lines else []), *_pool(sample, name, pool)]
        lines.append(_joined([TableCell(column.head, "head") for column in columns], columns, widths))
        for key, cells in _rows(sample, name, columns):
            line = _joined(cells, columns, widths)
            if key == selected:
                place = len(lines)
                line = [TableCell("".join(cell.text for cell in line).ljust(width), "selected")]
            lines.append(line)
    return lines, place


def short(number: float | None) -> str:
    """Format a number in at most five characters: ``0.2``, ``34``, ``5.6k``, ``12M``; ``-`` for None."""
    if number is None:
        return "-"
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.0f}{unit}" if number >= 9.95 or number == 0 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.0f}P"


def _pool(sample: Sample, name: str, pool: dict[str, Any]) -> Iterator[Line]:
    strays = "" if pool["strays"] is None else f", {count(pool['strays'], 'stray')}"
    answers = {
        status: short(sample.rate(lambda each, status=status: each.pools[name]["requests"][status]))  # type: ignore[misc]
        for status in pool["requests"]
        if status != "1xx" and pool["requests"][status]
    }
    decisions = {
        why: short(sample.rate(lambda each, why=why: each.pools[name]["decisions"].get(why, 0)))  # type: ignore[misc]
        for why in pool["decisions"]
    }
    if pool["panic"]:
        yield [TableCell(panic_alarm(pool), "bad")]
    yield [
        TableCell(f"pool {name}", "head"),
        TableCell(
            f"  {pool['available']} of {count(pool['backends'], 'backend')} take new users; "
            f"{count(pool['users'], 'user')}, {count(pool['tunnels'], 'tunnel')}, {count(pool['pins'], 'pin')}{strays}"
        ),
    ]
    yield [TableCell(_GAP + "answers/s  " + _pairs(answers))]
    yield [TableCell(_GAP + "decisions/s  " + _pairs(decisions))]


def _pairs(numbers: dict[str, str]) -> str:
    return "  ".join(f"{name} {number}" for name, number in numbers.items()) or "none yet"


def _fitting(sample: Sample, width: int) -> tuple[list[_Column], list[int]]:
    """The columns that fit, at least the first, and their widths."""
    every = [cells for name in sample.pools for _, cells in _rows(sample, name, list(_COLUMNS))]
    wide = {
        column: max([len(column.head), *(len(cells[i].text) for cells in every)]) for i, column in enumerate(_COLUMNS)
    }
    columns = list(_COLUMNS)
    while len(columns) > 1 and sum(wide[column] + len(_GAP) for column in columns) > width:
        columns.remove(min(columns, key=lambda column: column.priority))
    return columns, [wide[column] for column in columns]


def _rows(sample: Sample, pool: str, columns: list[_Column]) -> Iterator[tuple[Key, list[TableCell]]]:
    for key, backend in sample.backends.items():
        if key[0] == pool:
            cells = [column.cell(sample, key, backend) for column in columns]
            yield key, [TableCell(cell.text[:_LONGEST], cell.colour) for cell in cells]


def _joined(cells: list[TableCell], columns: list[_Column], widths: list[int]) -> Line:
    line = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        text = cell.text.rjust(width) if column.right else cell.text.ljust(width)
        line.append(TableCell(_GAP + text, cell.colour))
    return line
