"""Draw a change of the ring as SVG: the ring before (inside) and after (outside).

Between the two is what moves, in the colour of its new backend. Circles are drawn with position 0 at the top,
clockwise; tables and rendezvous have no arcs to draw, so that their shares are drawn as one arc each, and only the
legend shows what moves.

A circle is cut into slots of about a pixel, each in the colour of the backend that owns its middle: 500 backends have
80 000 arcs, which nobody could see. A backend's slots are one circle with dashes.
"""

from bisect import bisect_left
from collections.abc import Sequence
from html import escape
from itertools import accumulate, groupby

from balancer.ring.base import Ring
from balancer.ring.circle import Circle
from balancer.ring.plan import Plan, Side

# Okabe and Ito's colour-blind safe palette (https://jfly.uni-koeln.de/color/), without its black and with its yellow
# darkened for contrast on white; further backends get lighter and darker tints of the same hues.
_HUES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#c9b800")
_TINTS = (0.0, 0.45, -0.4)
_SLOTS = 2048
_CENTRE = 380
_INNER, _MOVED, _OUTER = "inner", "moved", "outer"
_RINGS = {_INNER: (200, 60), _MOVED: (251, 22), _OUTER: (302, 60)}
"""Radius and width."""
_ROW = 22
_COLUMN_ROWS = 30
_COLUMN = 330
_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1d2430 }
.title { font-size: 20px; font-weight: 600 }
.small { font-size: 12px; fill: #5b6573 }
.n { text-anchor: end; font-variant-numeric: tabular-nums }
.paper { fill: #ffffff }
.track { stroke: #eef1f4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e8ecf1 } .small { fill: #a3adba } .paper { fill: #14181f } .track { stroke: #252b35 }
}
"""


def svg(before: Ring, after: Ring, plan: Plan) -> str:
    """Draw ``plan``, which replaces the ring ``before`` by ``after``; return an SVG document."""
    names = sorted({*before.members, *after.members})
    colours = {name: _colour(index) for index, name in enumerate(names)}
    columns = -(-len(names) // _COLUMN_ROWS)
    width = 2 * _CENTRE + 20 + _COLUMN * columns
    height = max(2 * _CENTRE, 190 + _ROW * min(len(names), _COLUMN_ROWS))
    old, new = _owners(before, plan.before), _owners(after, plan.after)
    drawn_alike = isinstance(before, Circle) and isinstance(after, Circle) and before.hash.name == after.hash.name
    moved = [now if drawn_alike and now != then else "" for then, now in zip(old, new, strict=True)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title">',
        f'<title id="title">{escape(_headline(plan))}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<defs>{"".join(map(_circle, _RINGS))}<rect id="box" width="14" height="14" rx="3"/></defs>',
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


def _owners(ring: Ring, about: Side) -> list[str]:
    """The owner of each slot of the circle; for other rings each share as one arc."""
    if isinstance(ring, Circle):
        slot = (1 << ring.hash.bits) // _SLOTS
        return [ring.names[bisect_left(ring.ends, slot * index + slot // 2)] for index in range(_SLOTS)]
    names, shares = zip(*sorted(about.shares.items()), strict=True)
    ends = list(accumulate(shares))[:-1]
    return [names[bisect_left(ends, (index + 0.5) / _SLOTS)] for index in range(_SLOTS)]


def _circle(ring: str) -> str:
    """From the top clockwise, so long that a slot has the length 1."""
    radius, width = _RINGS[ring]
    half = f"A{radius} {radius} 0 0 1 {_CENTRE}"
    top, bottom = _CENTRE - radius, _CENTRE + radius
    path = f"M{_CENTRE} {top}{half} {bottom}{half} {top}"
    return f'<path id="{ring}" d="{path}" pathLength="{_SLOTS}" fill="none" stroke-width="{width}"/>'


def _ring(owners: Sequence[str], ring: str, colours: dict[str, str]) -> list[str]:
    """One dashed circle for each backend, with its name as the tooltip; slots without an owner stay empty."""
    dashes: dict[str, list[int]] = {}
    """Lengths of dashes and gaps in turns, up to the end of the last dash."""
    ends: dict[str, int] = {}
    start = 0
    for name, slots in groupby(owners):
        end = start + sum(1 for _ in slots)
        if name:
            given = dashes.setdefault(name, [])
            given += [start - ends[name], end - start] if given else [0, start, end - start] if start else [end]
            ends[name] = end
        start = end
    by_colour: dict[str, list[str]] = {}
    for name, given in sorted(dashes.items()):
        lengths = " ".join(map(str, [*given, _SLOTS - ends[name]]))
        drawn = f'<use href="#{ring}" stroke-dasharray="{lengths}"><title>{escape(name)}</title></use>'
        by_colour.setdefault(colours[name], []).append(drawn)
    return [
        f'<use href="#{ring}" class="track"/>',
        *(f'<g stroke="{colour}">{"".join(drawn)}</g>' for colour, drawn in by_colour.items()),
    ]


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
                f'<text class="small n" x="{x + 215}" y="{y - 26}">before</text>',
                f'<text class="small n" x="{x + 290}" y="{y - 26}">after</text>',
            ]
        shown = name if len(name) <= 20 else f"{name[:19]}…"
        parts += [
            f'<use href="#box" x="{x}" y="{y - 12}" fill="{colours[name]}"/>',
            f'<text x="{x + 22}" y="{y}">{escape(shown)}{f"<title>{escape(name)}</title>" if shown != name else ""}'
            f'<tspan class="n" x="{x + 215}">{_share(plan.before.shares.get(name))}</tspan>'
            f'<tspan class="n" x="{x + 290}">{_share(plan.after.shares.get(name))}</tspan></text>',
        ]
    return parts


def _share(share: float | None) -> str:
    return "none" if share is None else f"{share:.2%}"
