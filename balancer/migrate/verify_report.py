"""The result of a comparison for operators and for scripts, with digests in place of tokens."""

from datetime import UTC, datetime

from balancer.migrate.verify import Cause, Group, VerifyResult
from balancer.migrate.verify_logs import Reading

_GROUPS_SHOWN = 20
_ADVICE = {
    Cause.ABSENT: "if this host was down all the time, pass --down NAME; if it is new, its users will move",
    Cause.STRANGER: "add the missing server, or correct its name or address",
    Cause.REFUSED: 'see pool.token: duplicates = "first" takes the first token as haproxy and nginx do; max_length',
    Cause.DIFFERS: "the ring differs (hash, ids, weights, names), or an outage was not logged: look at the lines",
}


def verdict_text(verdict: VerifyResult) -> str:
    """Return the result for one pool."""
    share = f"{100 * verdict.agreed / verdict.compared:.2f} %" if verdict.compared else "none"
    lines = [
        f"pool {verdict.pool}, ring {verdict.fingerprint} of {verdict.backends} backends",
        f"  {verdict.compared} requests compared, {verdict.agreed} agree ({share})",
    ]
    for cause in Cause:
        groups = [group for group in verdict.groups if group.cause is cause]
        if groups:
            total = sum(group.requests for group in groups)
            lines.append(f"  {total} {'explained' if cause.explains else 'DIFFER'}: {cause}")
            lines += [f"    {_group(group)}" for group in groups[:_GROUPS_SHOWN]]
            if rest := groups[_GROUPS_SHOWN:]:
                lines.append(f"    and {sum(group.requests for group in rest)} more between {len(rest)} other pairs")
            if cause in _ADVICE:
                lines.append(f"    ({_ADVICE[cause]})")
    lines += [f"  {count} not compared: {reason}" for reason, count in verdict.left_out.items()]
    return "\n".join([*lines, f"  {_conclusion(verdict)}"])


def verdict_json(verdict: VerifyResult) -> dict[str, object]:
    """Return the same as a JSON object."""
    return {
        "pool": verdict.pool,
        "fingerprint": verdict.fingerprint,
        "proved": verdict.proved,
        "compared": verdict.compared,
        "agreed": verdict.agreed,
        "groups": [
            {
                "cause": group.cause.name.lower(),
                "explained": group.cause.explains,
                "owner": group.owner,
                "served": group.served,
                "requests": group.requests,
                "users": len(group.users),
                "first": _moment(group.first),
                "last": _moment(group.last),
                "examples": [{"line": line, "digest": digest} for line, digest in group.examples],
            }
            for group in verdict.groups
        ],
        "left_out": dict(verdict.left_out),
    }


def reading_text(reading: Reading) -> str:
    """Return what the files contain besides requests of our pools."""
    lines = [f"{reading.lines} lines read"]
    if reading.unreadable:
        where = ", ".join(reading.first_unreadable)
        lines.append(f"  {reading.unreadable} are no requests in this format and no changes of servers; first: {where}")
    for group, count in reading.others.most_common(_GROUPS_SHOWN):
        lines.append(f"  {count} belong to no pool here" + (f": {_printable(group)}" if group else ""))
    return "\n".join(lines)


def reading_json(reading: Reading) -> dict[str, object]:
    """Return the same as a JSON object."""
    return {
        "lines": reading.lines,
        "unreadable": reading.unreadable,
        "first_unreadable": reading.first_unreadable,
        "others": dict(reading.others),
    }


def _conclusion(verdict: VerifyResult) -> str:
    if not verdict.compared:
        return "nothing was compared, so nothing is proved"
    if not verdict.proved:
        return "NOT PROVED: some users would move to other hosts"
    if not verdict.groups:
        return "proved: every request went where this ring places its user"
    return "proved: every request went where this ring places its user, or its difference is explained above"


def _group(group: Group) -> str:
    users = f"{len(group.users)} user{'' if len(group.users) == 1 else 's'}"
    when = f", {_moment(group.first)} to {_moment(group.last)}" if group.first is not None else ""
    examples = ", ".join(f"{line} (digest {digest})" for line, digest in group.examples)
    return f"{group.requests} of {users} belong on {group.owner}, went to {group.served}{when}; {examples}"


def _moment(when: int | None) -> str | None:
    return None if when is None else datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:80])
