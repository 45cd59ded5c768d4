"""The columns of results: the numbers that a sample may have."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A number of a sample."""

    title: str
    """Its heading in tables."""
    steady: bool = False
    """Whether it is about the same in every round on a quiet machine."""
    changes: bool = True
    """Whether comparing it between two states of a proxy makes sense."""


COLUMNS = {
    "operations_per_second": Column("ops/s"),
    "instructions": Column("instructions/op", steady=True),
    "cpu_microseconds": Column("CPU us/op", steady=True),
    "marginal_microseconds": Column("beyond rest us/op", steady=True),
    "capacity_per_second": Column("capacity/s"),
    "direct_p50_milliseconds": Column("direct p50 ms"),
    "added_milliseconds": Column("added p50 ms"),
    "p50_milliseconds": Column("p50 ms"),
    "p99_milliseconds": Column("p99 ms"),
    "longest_milliseconds": Column("longest ms"),
    "connections": Column("idle connections", changes=False),
    "kibibytes_per_connection": Column("KiB/connection"),
    "idle_cpu_percent": Column("CPU % at rest"),
    "bulk_mebibytes_per_second": Column("bulk MiB/s", steady=True),
    "memory_mebibytes": Column("memory MiB"),
    "reconnects": Column("reconnects", changes=False),
    "events": Column("events", changes=False),
}
"""Columns by their names in samples, which include the unit."""
