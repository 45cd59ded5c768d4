"""Draw the ratios as SVG 1.1: our cost of each scenario as a multiple of each peer's.

The scale is logarithmic, so that half and double are equally far from 1. A bar ends at the median over the rounds; a
thin line shows the range from the smallest to the largest ratio.
"""

import math
from collections.abc import Sequence
from html import escape
from statistics import median

from bench.peers.table import SUBJECT
from bench.report import ratios
from bench.runner import Results, Round
from bench.scenarios import Scenario

COSTS = {
    "cpu_microseconds": "CPU time per operation",
    "kibibytes_per_connection": "memory per connection",
    "added_milliseconds": "added p50 latency",
    "p99_milliseconds": "p99 latency",
}
"""Columns to compare, all less-is-better; of each scenario the first that it has is drawn."""

_COLOURS = ["#0072b2", "#009e73", "#cc79a7", "#d55e00"]
"""Of peers, from Okabe and Ito's colour-blind safe palette."""
_WIDTH, _LEFT, _RIGHT = 960, 270, 900
_TOP, _BAR, _GAP = 84, 13, 12


class _Scale:
    """Maps ratios to pixels; the axis covers as many whole powers of two as needed."""

    def __init__(self, found: Sequence[float]) -> None:
        self.low = math.floor(math.log2(min(0.5, *found)))
        self.high = math.ceil(math.log2(max(2.0, *found)))

    def x(self, ratio: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (math.log2(ratio) - self.low) / (self.high - self.low)


def svg(results: Sequence[tuple[Scenario, Results]], versions: dict[str, str | None]) -> str:
    """Draw all scenarios below each other, with a bar for each peer; of two states the last is drawn."""
    lasts = [(scenario, *list(found.items())[-1]) for scenario, found in results]
    measured = {peer for *_, rounds in lasts for peer in rounds[0]}
    peers = [peer for peer in versions if peer in measured and peer != SUBJECT]
    colours = dict(zip(peers, _COLOURS, strict=False))
    rows = [(scenario, state, *_bars(rounds, peers)) for scenario, state, rounds in lasts]
    scale = _Scale([ratio for *_, bars in rows for found in bars.values() for ratio in found])
    y = _TOP
    body: list[str] = []
    for scenario, state, cost, bars in rows:
        body += _group(scenario, state, cost, y)
        for peer, found in bars.items():
            body.append(_bar(scale, colours[peer], f"{scenario.name} / {peer}", found, y))
            y += _BAR
        y += max(0, 2 - len(bars)) * _BAR + _GAP
    head = [_text(16, 28, f"{SUBJECT} {versions[SUBJECT]}: cost as a multiple of each peer's; less is better", size=17)]
    x = 16.0
    for peer in peers:
        label = f"{peer} {versions[peer]}"
        head += [f'<rect x="{x}" y="42" width="12" height="12" fill="{colours[peer]}"/>', _text(x + 17, 52, label)]
        x += 40 + 7 * len(label)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}"'
            ' font-family="sans-serif" font-size="12" fill="#222">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            *head,
            *_grid(scale, y),
            *body,
            "</svg>\n",
        ]
    )


def _bars(rounds: Sequence[Round], peers: Sequence[str]) -> tuple[str, dict[str, list[float]]]:
    """The compared column, and its ratios to each peer without zeros."""
    cost = next(cost for cost in COSTS if cost in rounds[0][SUBJECT])
    found = {peer: [ratio for ratio in ratios(rounds, peer, cost) if ratio > 0] for peer in peers if peer in rounds[0]}
    return cost, {peer: some for peer, some in found.items() if some}


def _grid(scale: _Scale, bottom: float) -> list[str]:
    lines = []
    for power in range(scale.low, scale.high + 1):
        x = scale.x(2**power)
        colour, label = ("#222", "1") if power == 0 else ("#ddd", f"{2**power:g}" if power > 0 else f"1/{2**-power}")
        lines.append(f'<path d="M{x:.1f} {_TOP - 8}V{bottom - 4:.0f}" stroke="{colour}"/>')
        lines.append(_text(x, _TOP - 13, label, anchor="middle"))
    return lines


def _group(scenario: Scenario, state: str, cost: str, y: float) -> list[str]:
    return [
        f"<g><title>{escape(scenario.about)}</title>",
        _text(16, y + 11, scenario.name, weight="bold"),
        _text(16, y + 24, f"{COSTS[cost]}, {state}" if state else COSTS[cost], colour="#666"),
        "</g>",
    ]


def _bar(scale: _Scale, colour: str, name: str, found: Sequence[float], y: float) -> str:
    middle, one = scale.x(median(found)), scale.x(1)
    left, right = scale.x(min(found)), scale.x(max(found))
    at = y + _BAR / 2
    return "".join(
        [
            f"<g><title>{escape(name)}: {median(found):.2f} ({min(found):.2f}-{max(found):.2f})</title>",
            f'<rect x="{min(one, middle):.1f}" y="{y + 1:.1f}" width="{abs(middle - one):.1f}" height="{_BAR - 2}"'
            f' fill="{colour}"/>',
            f'<path d="M{left:.1f} {at:.1f}H{right:.1f}" stroke="#222"/>',
            _text(max(one, right) + 5, at + 4, f"{median(found):.2f}", size=11),
            "</g>",
        ]
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    weight: str = "normal",
    colour: str = "#222",
    anchor: str = "start",
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
