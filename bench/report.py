"""What the rounds say: medians with their spread, ratios to each peer, and whether the machine was quiet enough."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import Sample
from bench.peers import SUBJECT
from bench.runner import Round
from bench.scenarios import Scenario

NOISE = 0.25
"""Spread of a peer's own processor time per operation between rounds above which a comparison means little."""

COLUMNS = [field.name for field in fields(Sample)]
_TITLES = ["ops/s", "CPU us/op", "p50 ms", "p99 ms", "RSS MiB"]
_FORMATS = ["{:,.0f}", "{:.1f}", "{:.2f}", "{:.2f}", "{:.1f}"]


def values(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """One number of one peer, round by round."""
    return [getattr(turn[peer], column) for turn in rounds]


def ratios(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """How many times the peer's number ours is, round by round."""
    return [getattr(turn[SUBJECT], column) / getattr(turn[peer], column) for turn in rounds]


def spread(numbers: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median."""
    return (max(numbers) - min(numbers)) / median(numbers)


def noisy(rounds: Sequence[Round]) -> list[str]:
    """Sentences on peers whose own cost differed too much between rounds; none on a quiet machine."""
    spreads = {peer: spread(values(rounds, peer, "cpu_microseconds")) for peer in rounds[0]}
    return [
        f"the machine was too noisy: {peer}'s CPU per operation spread {found:.0%} between rounds"
        for peer, found in spreads.items()
        if found > NOISE
    ]


def text(scenario: Scenario, rounds: Sequence[Round]) -> str:
    """One scenario as a table for people."""
    lines = [f"{scenario.name}: {scenario.about}", " " * 12 + "".join(f"{title:>20}" for title in _TITLES)]
    for peer in rounds[0]:
        cells = []
        for column, form in zip(COLUMNS, _FORMATS, strict=True):
            numbers = values(rounds, peer, column)
            cells.append(f"{form.format(median(numbers))} ±{spread(numbers) / 2:.0%}")
        lines.append(f"  {peer:<10}" + "".join(f"{cell:>20}" for cell in cells))
    for peer in rounds[0]:
        if peer != SUBJECT:
            cells = []
            for column in COLUMNS:
                numbers = ratios(rounds, peer, column)
                cells.append(f"{median(numbers):.2f} ({min(numbers):.2f}-{max(numbers):.2f})")
            lines.append(f"  / {peer:<8}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines + [f"  {sentence}" for sentence in noisy(rounds)]) + "\n"


def record(scenario: Scenario, rounds: Sequence[Round]) -> dict[str, Any]:
    """One scenario as data: every sample, and the ratios' medians."""
    return {
        "name": scenario.name,
        "about": scenario.about,
        "rounds": [{peer: asdict(sample) for peer, sample in turn.items()} for turn in rounds],
        "ratios": {
            peer: {column: median(ratios(rounds, peer, column)) for column in COLUMNS}
            for peer in rounds[0]
            if peer != SUBJECT
        },
        "noisy": noisy(rounds),
    }


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }
