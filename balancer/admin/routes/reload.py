"""Handlers for the active configuration, its certificates, and reloads."""

import time
from dataclasses import asdict
from typing import Any

import trio

from balancer.admin import requests
from balancer.admin.call import ApiError, Call, as_text
from balancer.admin.routes.plans import plan_lines
from balancer.admin.server import ApiResponse
from balancer.admin.views import reload_facts
from balancer.config.certificates import describe_pem
from balancer.config.difference import masked
from balancer.config.scalars import format_duration
from balancer.control.reload import Changes, RemovedHost
from balancer.errors import ConfigError
from balancer.ring.report import plan_json

DAY = 86400.0


async def reload(call: Call) -> ApiResponse:
    """Reload the configuration file, or with ``dry_run`` show what that would change."""
    body = call.body(requests.ReloadBody)
    reloader = call.services.reloader
    try:
        changes = await (reloader.preview() if body.dry_run else reloader.reload(call.who))
    except ConfigError as error:
        raise ApiError(409, str(error)) from None
    if call.wants("text/plain"):
        return as_text("\n".join(_lines(changes, dry=body.dry_run)))
    return call.answer({**reload_facts(call.services), "dry_run": body.dry_run, **_json(changes)})


async def last(call: Call) -> ApiResponse:
    """Show the result of the last reload."""
    return call.answer(reload_facts(call.services))


async def config(call: Call) -> ApiResponse:
    """Show the active configuration without its secrets."""
    active = call.services.registry.active
    return call.answer({"generation": active.generation, "since": active.since, "config": masked(active.config)})


async def certificates(call: Call) -> ApiResponse:
    """List the active certificates and the days until they expire."""
    active = call.services.registry.active
    found = []
    for listener in active.config.listener:
        files = listener.tls.certificates if listener.tls else ()
        for certificate, pem in zip(files, active.files.certificates.get(listener.name, ()), strict=True):
            about = await trio.to_thread.run_sync(describe_pem, certificate.cert, pem.cert)
            found.append(
                {
                    "listener": listener.name,
                    "file": str(certificate.cert),
                    "names": list(about.names),
                    "not_before": about.not_before,
                    "not_after": about.not_after,
                    "days_left": round((about.not_after - time.time()) / DAY, 1),
                    "fingerprint": about.fingerprint,
                }
            )
    return call.answer({"certificates": found})


def _json(changes: Changes) -> dict[str, Any]:
    return {
        "changes": [{"kind": each.kind, "key": each.key, "text": each.text} for each in changes.differences],
        "warnings": [str(each) for each in changes.warnings],
        "plans": [
            {
                **plan_json(each.pool, each.plan),
                "users": {"connected": each.users, "moving": sum(each.moves.values()), "tunnels": each.tunnels},
            }
            for each in changes.plans
        ],
        "removed": [asdict(each) for each in changes.removed],
    }


def _left(host: RemovedHost) -> str:
    left = f"{host.users} users with {host.tunnels} tunnels are left on it"
    if host.cut_after == "never":
        return f"{left}, and may stay"
    return f"{left}; those still open {format_duration(host.cut_after)} after the reload are closed"


def _lines(changes: Changes, *, dry: bool) -> list[str]:
    lines = [f"warning: {each}" for each in changes.warnings]
    lines += [each.text for each in changes.differences]
    lines += [f"backend {each.backend} of pool {each.pool}: {_left(each)}" for each in changes.removed if each.tunnels]
    for plan in changes.plans:
        lines += ["", *plan_lines(plan)]
    if not changes.differences:
        lines.append("the file is the active configuration")
    else:
        lines += ["", "nothing was changed: a dry run" if dry else "all of this is active now"]
    return lines
