"""Draw a change of the ring as SVG: the ring before (inside) and after (outside).

Between the two are the arcs that move, in the colour of their new backend. Circles are drawn with position 0 at the
top, clockwise; tables and rendezvous have no arcs to draw, so that their shares are drawn as one arc each, and only the
legend shows what moves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import cos, pi, sin

from balancer.ring.base import Ring
from balancer.ring.circle import Circle
from balancer.ring.plan import Plan

# Okabe and Ito's colour-blind safe palette (https://jfly.uni-koeln.de/color/), without its black and with its yellow
# darkened for contrast on white; further backends get lighter and darker tints of the same hues.
_HUES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#c9b800")
_TINTS = (0.0, 0.45, -0.4)
_CENTRE = 380
_INNER = (170, 230)
_MOVED = (240, 262)
_OUTER = (272, 332)
_ROW = 22
_COLUMN_ROWS = 30
_COLUMN = 330
_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1d2430 }
.title { font-size: 20px; font-weight: 600 }
.small { font-size: 12px; fill: #5b6573 }
.number { text-anchor: end; font-variant-numeric: tabular-nums }
.paper { fill: #ffffff }
.track { fill: none; stroke: #eef1f4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e8ecf1 } .small { fill: #a3adba } .paper { fill: #14181f } .track { stroke: #252b35 }
}
"""


@dataclass(frozen=True)
class _Arc:
    """From ``start`` to ``end`` in turns, clockwise from the top."""

    start: float
    end: float
    name: str


def svg(before: Ring, after: Ring, plan: Plan) -> str:
    """Draw ``plan``, which replaces the ring ``before`` by ``after``; return an SVG document."""
    names = sorted({*before.members, *after.members})
    colours = {name: _colour(index) for index, name in enumerate(names)}
    columns = -(-len(names) // _COLUMN_ROWS)
    width = 2 * _CENTRE + 20 + _COLUMN * columns
    height = max(2 * _CENTRE, 190 + _ROW * min(len(names), _COLUMN_ROWS))
    old, new = _arcs(before), _arcs(after)
    drawn_alike = isinstance(before, Circle) and isinstance(after, Circle) and before.hash.name == after.hash.name
    moved = _changed(old, new) if drawn_alike else []
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title">',
        f'<title id="title">{escape(_headline(plan))}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        *(_track(*radii) for radii in (_INNER, _MOVED, _OUTER)),
        *_ring(old, _INNER, colours),
        *_ring(moved, _MOVED, colours),
        *_ring(new, _OUTER, colours),
        *_centre(plan),
        *_legend(plan, names, colours),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _headline(plan: Plan) -> str:
    return f"{plan.moved:.1%} of all tokens move" if plan.moves else "No token moves"


def _arcs(ring: Ring) -> list[_Arc]:
    """The arcs of a circle, adjacent ones of one backend joined; or for other rings each share as one arc."""
    if isinstance(ring, Circle):
        size = 1 << ring.hash.bits
        borders = [0.0, *((end + 1) / size for end in ring.ends), 1.0]
        pieces = zip(pairwise(borders), ring.names, strict=True)
        return _joined(_Arc(start, end, name) for (start, end), name in pieces)
    arcs = []
    start = 0.0
    for name, share in sorted(ring.shares().items()):
        arcs.append(_Arc(start, start + share, name))
        start += share
    return arcs


def _joined(pieces: Iterable[_Arc]) -> list[_Arc]:
    arcs: list[_Arc] = []
    for piece in pieces:
        if piece.end > piece.start:
            if arcs and arcs[-1].name == piece.name:
                piece = _Arc(arcs.pop().start, piece.end, piece.name)
            arcs.append(piece)
    return arcs


def _changed(old: Sequence[_Arc], new: Sequence[_Arc]) -> list[_Arc]:
    """The pieces of the circle whose owner changes, under the name of the new owner."""
    pieces = []
    here = there = 0
    for start, end in pairwise(sorted({0.0, *(arc.end for arc in old), *(arc.end for arc in new)})):
        here += old[here].end <= start
        there += new[there].end <= start
        if old[here].name != new[there].name:
            pieces.append(_Arc(start, end, new[there].name))
    return pieces


def _track(inner: int, outer: int) -> str:
    middle, width = (inner + outer) / 2, outer - inner
    return f'<circle class="track" cx="{_CENTRE}" cy="{_CENTRE}" r="{middle}" stroke-width="{width}"/>'


def _ring(arcs: Iterable[_Arc], radii: tuple[int, int], colours: dict[str, str]) -> list[str]:
    """One path for each backend with all its arcs, and its name as the tooltip."""
    paths: dict[str, list[str]] = {}
    for arc in arcs:
        paths.setdefault(arc.name, []).append(_sector(arc, *radii))
    return [
        f'<path fill="{colours[name]}" d="{"".join(path)}"><title>{escape(name)}</title></path>'
        for name, path in sorted(paths.items())
    ]


def _sector(arc: _Arc, inner: int, outer: int) -> str:
    if arc.end - arc.start > 0.5:  # SVG draws nothing for an arc that ends where it starts
        middle = (arc.start + arc.end) / 2
        halves = _Arc(arc.start, middle, arc.name), _Arc(middle, arc.end, arc.name)
        return "".join(_sector(half, inner, outer) for half in halves)
    a, b = _point(arc.start, outer), _point(arc.end, outer)
    c, d = _point(arc.end, inner), _point(arc.start, inner)
    return f"M{a}A{outer} {outer} 0 0 1 {b}L{c}A{inner} {inner} 0 0 0 {d}Z"


def _point(turn: float, radius: int) -> str:
    angle = 2 * pi * turn
    return f"{_CENTRE + radius * sin(angle):.1f} {_CENTRE - radius * cos(angle):.1f}"


def _colour(index: int) -> str:
    hue = _HUES[index % len(_HUES)]
    tint = _TINTS[index // len(_HUES) % len(_TINTS)]
    target = 255 if tint > 0 else 0
    channels = (int(hue[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(channel + (target - channel) * abs(tint)):02x}" for channel in channels)


def _centre(plan: Plan) -> list[str]:
    lines = [
        ("title", _headline(plan)),
        ("small", f"unnecessarily: {plan.needless:.1%}"),
        ("small", f"inside: before, {plan.before.fingerprint}"),
        ("small", f"outside: after, {plan.after.fingerprint}"),
        ("small", "between: what moves"),
    ]
    return [
        f'<text class="{kind}" x="{_CENTRE}" y="{_CENTRE - 36 + 22 * row}" text-anchor="middle">{escape(text)}</text>'
        for row, (kind, text) in enumerate(lines)
    ]


def _legend(plan: Plan, names: Sequence[str], colours: dict[str, str]) -> list[str]:
    """Each backend with its share before and after."""
    left = 2 * _CENTRE + 20
    parts = []
    for index, name in enumerate(names):
        column, row = divmod(index, _COLUMN_ROWS)
        x, y = left + _COLUMN * column, 120 + _ROW * row
        if row == 0:
            parts += [
                f'<text class="small number" x="{x + 215}" y="{y - 26}">before</text>',
                f'<text class="small number" x="{x + 290}" y="{y - 26}">after</text>',
            ]
        shown = name if len(name) <= 20 else f"{name[:19]}…"
        parts += [
            f'<rect x="{x}" y="{y - 12}" width="14" height="14" rx="3" fill="{colours[name]}"/>',
            f'<text x="{x + 22}" y="{y}">{escape(shown)}<title>{escape(name)}</title></text>',
            f'<text class="number" x="{x + 215}" y="{y}">{_share(plan.before.shares.get(name))}</text>',
            f'<text class="number" x="{x + 290}" y="{y}">{_share(plan.after.shares.get(name))}</text>',
        ]
    return parts


def _share(share: float | None) -> str:
    return "none" if share is None else f"{share:.2%}"
