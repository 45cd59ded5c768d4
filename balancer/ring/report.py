"""Format rings, placements and plans for operators, as text and as JSON.

Shares in JSON are numbers between 0 and 1. Hashes are hex strings, because many JSON readers round large numbers.
"""

from collections.abc import Iterable, Sequence
from math import fsum

from balancer.ring.base import Ring
from balancer.ring.explain import Explanation
from balancer.ring.plan import Load, Loss, Plan, Side, side

_MOVES_SHOWN = 20
_EVEN, _FAIR = 1.1, 1.25
"""Up to this ratio of the largest share to a fair one, a ring is called even, or fairly even."""


def explain_text(pool: str, found: Explanation) -> str:
    """Format an explanation: where the token is placed, why, and where it would go if that host were lost."""
    lines = [
        f"pool {pool}, ring {found.fingerprint} of {_backends(found.members)}",
        f"hash {found.position:#x}, which belongs to {found.point:#x}",
    ]
    if found.rule is not None:
        lines.append(f"{found.rule}: {found.overridden}")
    roles = ["owner", *("successor" for _ in found.candidates[1:])]
    for role, candidate in zip(roles, found.candidates, strict=True):
        skipped = f", skipped: {candidate.skipped}" if candidate.skipped else ""
        lines.append(f"{role:>9}  {candidate.backend}{skipped}")
    if len(found.candidates) < found.members:
        lines.append(f"{'':>9}  and {found.members - len(found.candidates)} more")
    if found.placed is None:
        lines.append("no backend can take this user")
    elif found.if_lost is None:
        lines.append(f"this user's next connection goes to {found.placed}; if that host is lost, there is no other")
    else:
        lines.append(f"this user's next connection goes to {found.placed}; if that host is lost, to {found.if_lost}")
    return "\n".join(lines)


def explain_json(pool: str, found: Explanation) -> dict[str, object]:
    """Return an explanation as a JSON object."""
    return {
        "pool": pool,
        "fingerprint": found.fingerprint,
        "position": f"{found.position:#x}",
        "point": f"{found.point:#x}",
        "owner": found.candidates[0].backend,
        "candidates": [{"backend": each.backend, "skipped": each.skipped} for each in found.candidates],
        "members": found.members,
        "rule": found.rule,
        "placed": found.placed,
        "if_lost": found.if_lost,
    }


def show_text(pool: str, algorithm: str, ring: Ring) -> str:
    """Format a ring: shares, points, and how even it is."""
    about = side(ring)
    counts = ring.point_counts()
    rows = [
        (name, f"{weight:g}", str(counts.get(name, "")), _percent(about.shares[name]), _times(about, name))
        for name, weight in ring.weights.items()
    ]
    return "\n".join(
        [
            f"pool {pool}: {algorithm}, {_backends(len(ring.members))}, fingerprint {ring.fingerprint}",
            _table(("backend", "weight", "points", "share", "of fair"), rows),
            _balance(about),
            _worst_loss(about.worst_loss),
        ]
    )


def show_json(pool: str, algorithm: str, ring: Ring) -> dict[str, object]:
    """Return a ring as a JSON object."""
    about = side(ring)
    return {
        "pool": pool,
        "algorithm": algorithm,
        **_side_json(about),
        "points": ring.point_counts(),
        "balance": _balance(about),
    }


def plan_text(pool: str, plan: Plan) -> str:
    """Format a plan: how much moves and where to, and how even the ring is before and after."""
    how = f"sample of {plan.sampled}, standard error {_percent(plan.standard_error)}" if plan.sampled else "exact"
    moves = [(move.source, move.target, _percent(move.share)) for move in plan.moves[:_MOVES_SHOWN]]
    if plan.pairs > len(moves):
        rest = plan.moved - fsum(move.share for move in plan.moves[:_MOVES_SHOWN])
        moves.append((f"{plan.pairs - len(moves)} other pairs", "", _percent(rest)))
    before, after = plan.before, plan.after
    backends = [
        (
            name,
            _weight(before, name),
            _weight(after, name),
            _share(before, name),
            _share(after, name),
            _times(after, name),
        )
        for name in sorted({*before.weights, *after.weights})
    ]
    lines = [
        f"pool {pool}: plan {plan.id}, ring {before.fingerprint} to {after.fingerprint}",
        f"{_percent(plan.moved)} of all tokens move ({how})",
        f"{_percent(plan.needless)} move unnecessarily, between backends whose weights do not require it",
        *([_table(("from", "to", "share"), moves)] if moves else []),
        _table(("backend", "weight", "after", "share", "after", "of fair"), backends),
        f"before: {_balance(before)}",
        f"after: {_balance(after)}",
        _worst_loss(after.worst_loss),
    ]
    return "\n".join(lines)


def plan_json(pool: str, plan: Plan) -> dict[str, object]:
    """Return a plan as a JSON object."""
    return {
        "pool": pool,
        "id": plan.id,
        "moved": plan.moved,
        "needless": plan.needless,
        "exact": not plan.sampled,
        "sample": plan.sampled,
        "standard_error": plan.standard_error,
        "pairs": plan.pairs,
        "moves": [
            {"from": move.source, "to": move.target, "share": move.share, "needless": move.needless}
            for move in plan.moves
        ],
        "before": _side_json(plan.before),
        "after": _side_json(plan.after),
    }


def _side_json(about: Side) -> dict[str, object]:
    loss = about.worst_loss
    return {
        "fingerprint": about.fingerprint,
        "weights": dict(about.weights),
        "shares": dict(about.shares),
        "fullest": _load_json(about.fullest),
        "worst_loss": {"lost": loss.lost, **_load_json(loss.heir)} if loss else None,
    }


def _load_json(load: Load) -> dict[str, object]:
    return {"backend": load.backend, "of_fair": load.ratio}


def _balance(about: Side) -> str:
    """How even a ring is, with advice if it is not."""
    fullest = about.fullest
    words = "even" if fullest.ratio <= _EVEN else "fairly even" if fullest.ratio <= _FAIR else "uneven"
    advice = "" if fullest.ratio <= _FAIR else "; raise points, or all weights, to even it out"
    return f"{words}: the fullest, {fullest.backend}, has {fullest.ratio:.2f} of its fair share{advice}"


def _worst_loss(loss: Loss | None) -> str:
    if loss is None:
        return "there is no other backend to take over if this one is lost"
    return f"worst single loss: without {loss.lost}, {loss.heir.backend} has {loss.heir.ratio:.2f} of its fair share"


def _weight(about: Side, name: str) -> str:
    return f"{about.weights[name]:g}" if name in about.weights else "none"


def _share(about: Side, name: str) -> str:
    return _percent(about.shares[name]) if name in about.shares else "none"


def _times(about: Side, name: str) -> str:
    if name not in about.shares:
        return ""
    fair = about.weights[name] / fsum(about.weights.values())
    return f"{about.shares[name] / fair:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _backends(count: int) -> str:
    return f"{count} backend{'' if count == 1 else 's'}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align the columns, each as wide as its widest cell: text to the left, numbers to the right."""
    table = [heads, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if column == 0 or heads[column] == "to" else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
