"""What the rounds say: medians with their spread, ratios to each peer, and whether the machine was quiet enough."""

import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers.table import SUBJECT
from bench.runner import Round
from bench.scenarios import Scenario

NOISE = 0.25
"""Spread of a steady number between rounds above which a comparison means little."""
_STEADY = ("cpu_microseconds", "bulk_mebibytes_per_second")
"""What on a quiet machine is the same in every round."""

TITLES = {
    "operations_per_second": "ops/s",
    "cpu_microseconds": "CPU us/op",
    "p50_milliseconds": "p50 ms",
    "p99_milliseconds": "p99 ms",
    "rss_mebibytes": "RSS MiB",
    "connections": "connections",
    "kibibytes_per_connection": "KiB/connection",
    "idle_cpu_percent": "CPU %",
    "bulk_mebibytes_per_second": "bulk MiB/s",
}
"""Every number a sample may have, as a table calls it."""


def values(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """One number of one peer, round by round."""
    return [turn[peer][column] for turn in rounds]


def ratios(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """How many times the peer's number ours is, round by round; left out where the peer's is nothing."""
    return [turn[SUBJECT][column] / turn[peer][column] for turn in rounds if turn[peer][column]]


def spread(numbers: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median; 0 if there is nothing to share."""
    middle = median(numbers)
    return (max(numbers) - min(numbers)) / middle if middle else 0.0


def noisy(rounds: Sequence[Round]) -> list[str]:
    """Sentences on peers whose steady numbers differed too much between rounds; none on a quiet machine."""
    spreads = {
        (peer, column): spread(values(rounds, peer, column))
        for peer, sample in rounds[0].items()
        for column in _STEADY
        if column in sample
    }
    return [
        f"the machine was too noisy: {peer}'s {TITLES[column]} spread {found:.0%} between rounds"
        for (peer, column), found in spreads.items()
        if found > NOISE
    ]


def text(scenario: Scenario, rounds: Sequence[Round]) -> str:
    """One scenario as a table for people."""
    columns = list(rounds[0][SUBJECT])
    titles = "".join(f"{TITLES[column]:>20}" for column in columns)
    lines = [f"{scenario.name}: {scenario.about}", " " * 12 + titles]
    for peer in rounds[0]:
        cells = []
        for column in columns:
            numbers = values(rounds, peer, column)
            cells.append(f"{_shown(median(numbers))} ±{spread(numbers) / 2:.0%}")
        lines.append(f"  {peer:<10}" + "".join(f"{cell:>20}" for cell in cells))
    for peer in rounds[0]:
        if peer != SUBJECT:
            cells = []
            for column in columns:
                numbers = ratios(rounds, peer, column)
                shown = f"{median(numbers):.2f} ({min(numbers):.2f}-{max(numbers):.2f})" if numbers else "-"
                cells.append(shown)
            lines.append(f"  / {peer:<8}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines + [f"  {sentence}" for sentence in noisy(rounds)]) + "\n"


def record(scenario: Scenario, rounds: Sequence[Round]) -> dict[str, Any]:
    """One scenario as data: every sample, and the ratios' medians."""
    return {
        "name": scenario.name,
        "about": scenario.about,
        "rounds": list(rounds),
        "ratios": {
            peer: {column: median(found) for column in sample if (found := ratios(rounds, peer, column))}
            for peer, sample in rounds[0].items()
            if peer != SUBJECT
        },
        "noisy": noisy(rounds),
    }


def _shown(number: float) -> str:
    """With three digits that say something, or all before the point."""
    digits = 2 if number == 0 else max(0, 2 - math.floor(math.log10(number)))
    return f"{number:,.{digits}f}"


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }
