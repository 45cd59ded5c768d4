"""What the rounds say: medians with their spread, ratios to each peer, and whether the machine was quiet enough."""

import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.columns import COLUMNS
from bench.peers.table import SUBJECT
from bench.runner import Results, Round
from bench.scenarios import Scenario

NOISE = 0.25
"""Spread of a steady number between rounds above which a comparison means little."""


def values(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """One number of one peer, round by round."""
    return [turn[peer][column] for turn in rounds]


def ratios(rounds: Sequence[Round], peer: str, column: str) -> list[float]:
    """How many times the peer's number ours is, round by round; left out where the peer's is nothing."""
    return [turn[SUBJECT][column] / turn[peer][column] for turn in rounds if turn[peer][column]]


def spread(numbers: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median; 0 if there is nothing to share."""
    middle = median(numbers)
    return (max(numbers) - min(numbers)) / abs(middle) if middle else 0.0


def noisy(rounds: Sequence[Round]) -> list[str]:
    """Sentences on peers whose steady numbers differed too much between rounds; none on a quiet machine."""
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
    """One scenario as tables for people: one for each state, and what changed from the first to the last."""
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
    """How much one number of one peer grew from the first state to the last, round by round: 0.5 is by half."""
    first, *_, last = (values(rounds, peer, column) for rounds in results.values())
    return [after / before - 1 for before, after in zip(first, last, strict=True) if before]


def _row(name: str, cells: Sequence[str]) -> str:
    return (f"    {name:<10}" + "".join(f" {cell:>20}" for cell in cells)).rstrip()


def _range(numbers: Sequence[float], middle: str, ends: str) -> str:
    """The median, and the smallest and largest."""
    if not numbers:
        return "-"
    return f"{middle.format(median(numbers))} ({ends.format(min(numbers), max(numbers))})"


def record(scenario: Scenario, results: Results) -> dict[str, Any]:
    """One scenario as data: every sample, the ratios' medians, and for two states what changed."""
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
    """How long it took, and which scenarios are to be measured again."""
    restless = [scenario.name for scenario, results in outcome if any(map(noisy, results.values()))]
    took = f"took {seconds // 60:.0f} min {seconds % 60:.0f} s"
    if not restless:
        several = all(len(rounds) > 1 for _, results in outcome for rounds in results.values())
        return f"{took}; " + ("the machine was quiet enough" if several else "one round does not tell how noisy it was")
    return f"{took}; the machine was too noisy, measure again when it is quiet: {' '.join(restless)}"


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
    """With three digits that say something, or all before the point."""
    digits = 2 if number == 0 else max(0, 2 - math.floor(math.log10(abs(number))))
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
