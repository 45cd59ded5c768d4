"""Evaluate rounds: medians and spread, ratios to each peer, and whether the machine was quiet enough."""

import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.columns import COLUMNS
from bench.peers.table import SUBJECT
from bench.runner import Results, Round
from bench.scenarios import Scenario

NOISE = 0.25
"""Spread of a steady number between rounds above which a comparison is unreliable."""


def values(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """Return one number of one peer for each round."""
    return [turn[peer][column] for turn in rounds]


def ratios(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """Return our number divided by the peer's for each round, without rounds in which the peer's is 0."""
    return [turn[SUBJECT][column] / turn[peer][column] for turn in rounds if turn[peer][column]]


def spread(numbers: Sequence[float]) -> float:
    """Return largest minus smallest number as a share of the median; 0 if the median is 0."""
    middle = median(numbers)
    return (max(numbers) - min(numbers)) / abs(middle) if middle else 0.0


def noisy(rounds: Sequence[Round]) -> list[str]:
    """Return a message for each steady number that differed too much between rounds."""
    spreads = {
        (peer, column): spread(values(rounds, peer, column))
        for peer, sample in rounds[0].items()
        for column in sample
        if COLUMNS[column].steady
    }
    return [
        f"the machine was too noisy: {peer}'s {COLUMNS[column].title} spread {found:.0%} between rounds"
        for (peer, column), found in spreads.items()
        if found > NOISE
    ]


def text(scenario: Scenario, results: Results) -> str:
    """Format a scenario as tables: one for each state, and the changes from the first to the last state."""
    lines = [f"{scenario.name}: {scenario.about}"]
    for state, rounds in results.items():
        lines += [f"  {state}:"] if state else []
        lines += _table(rounds)
    if len(results) > 1:
        lines += _change(results)
    return "\n".join(lines) + "\n"


def _table(rounds: Sequence[Round]) -> list[str]:
    columns = list(rounds[0][SUBJECT])
    lines = [_row("", [COLUMNS[column].title for column in columns])]
    for peer in rounds[0]:
        found = [values(rounds, peer, column) for column in columns]
        lines.append(_row(peer, [f"{_shown(median(each))} ±{spread(each) / 2:.0%}" for each in found]))
    for peer in rounds[0]:
        if peer != SUBJECT:
            found = [ratios(rounds, peer, column) for column in columns]
            lines.append(_row(f"/ {peer}", [_range(each, "{:.2f}", "{:.2f}-{:.2f}") for each in found]))
    return lines + [f"  {sentence}" for sentence in noisy(rounds)]


def _change(results: Results) -> list[str]:
    names = list(results)
    rounds = results[names[-1]]
    columns = [column for column in rounds[0][SUBJECT] if COLUMNS[column].changes]
    lines = [f"  {names[-1]}, against {names[0]}:"]
    for peer in rounds[0]:
        found = [[100 * change for change in changes(results, peer, column)] for column in columns]
        lines.append(_row(peer, [_range(each, "{:+.0f}%", "{:+.0f} to {:+.0f}") for each in found]))
    return lines


def changes(results: Results, peer: str, column: str) -> list[float]:
    """Return the relative growth of a peer's number from the first state to the last, for each round."""
    first, *_, last = (values(rounds, peer, column) for rounds in results.values())
    return [after / before - 1 for before, after in zip(first, last, strict=True) if before]


def _row(name: str, cells: Sequence[str]) -> str:
    return (f"    {name:<10}" + "".join(f" {cell:>20}" for cell in cells)).rstrip()


def _range(numbers: Sequence[float], middle: str, ends: str) -> str:
    """The median, with the quartiles in parentheses; with the smallest and the largest if there are fewer than four."""
    if not numbers:
        return "-"
    low, high = (min(numbers), max(numbers)) if len(numbers) < 4 else quantiles(numbers, method="inclusive")[::2]
    return f"{middle.format(median(numbers))} ({ends.format(low, high)})"


def record(scenario: Scenario, results: Results) -> dict[str, Any]:
    """Return a scenario as data for JSON: all samples, medians of ratios, and for two states the changes."""
    states = [
        {
            "name": state,
            "rounds": rounds,
            "ratios": {
                peer: {column: median(found) for column in sample if (found := ratios(rounds, peer, column))}
                for peer, sample in rounds[0].items()
                if peer != SUBJECT
            },
            "noisy": noisy(rounds),
        }
        for state, rounds in results.items()
    ]
    return {"name": scenario.name, "about": scenario.about, "states": states, "changes": _changes(results)}


def summary(outcome: Sequence[tuple[Scenario, Results]], seconds: float) -> str:
    """Return how long it took, and which scenarios to measure again."""
    disturbed = [scenario.name for scenario, results in outcome if any(map(noisy, results.values()))]
    took = f"took {seconds // 60:.0f} min {seconds % 60:.0f} s"
    if not disturbed:
        several = all(len(rounds) > 1 for _, results in outcome for rounds in results.values())
        verdict = "the machine was quiet enough" if several else "a single round does not show how noisy it was"
        return f"{took}; {verdict}"
    return f"{took}; the machine was too noisy, measure again when it is quiet: {' '.join(disturbed)}"


def _changes(results: Results) -> dict[str, dict[str, float]]:
    if len(results) < 2:
        return {}
    *_, rounds = results.values()
    return {
        peer: {
            column: median(found)
            for column in sample
            if COLUMNS[column].changes and (found := changes(results, peer, column))
        }
        for peer, sample in rounds[0].items()
    }


def _shown(number: float) -> str:
    """Format with three significant digits, or all before the decimal point."""
    digits = 2 if number == 0 else max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:,.{digits}f}"


def machine() -> dict[str, Any]:
    """Describe the machine."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }
