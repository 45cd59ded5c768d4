"""Handlers for the active configuration, its certificates, and reloads."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import trio

from balancer.admin import requests
from balancer.admin.call import ApiError, Call, as_text
from balancer.admin.routes.plans import plan_lines
from balancer.admin.server import ApiResponse
from balancer.admin.views import reload_facts, unfiled_facts
from balancer.config.certificates import describe_pem
from balancer.config.difference import as_written
from balancer.config.scalars import format_duration
from balancer.control.reload import Changes, RemovedHost
from balancer.errors import ConfigError
from balancer.migrate.toml import TomlTable, written_key
from balancer.ring.report import plan_json

DAY = 86400.0


async def reload(call: Call) -> ApiResponse:
    """Reload the configuration file, or with ``dry_run`` show what that would change."""
    body = call.body(requests.ReloadBody)
    reloader, upgrader = call.services.reloader, call.services.upgrader
    if upgrader.under_way and not body.dry_run:
        raise ApiError(409, f"an upgrade to {upgrader.news.release} is under way; reload when it is over")
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
    """Show the active configuration, as in the file, with secrets as digests."""
    active = call.services.registry.active

    def digest(secret: str) -> str:
        return f"digest:{call.services.pools.digest(secret.encode())}"

    written = as_written(active.config, digest)
    if call.wants("text/plain"):
        return as_text(toml_of(written, as_written(active.config, digest, defaults=False)))
    return call.answer({"generation": active.generation, "since": active.since, "config": written})


async def difference(call: Call) -> ApiResponse:
    """Show what differs between the configuration file and what is active."""
    try:
        found = await call.services.reloader.compare()
    except ConfigError as error:
        raise ApiError(409, str(error)) from None
    if not call.wants("text/plain"):
        return call.answer(_changed(found))
    lines = [f"warning: {each}" for each in found.warnings]
    lines += [each.text for each in found.differences] or ["the file is the active configuration"]
    return as_text("\n".join([*lines, *_unfiled_lines(found)]))


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


def _changed(changes: Changes) -> dict[str, Any]:
    """Return what every comparison of the file with what is active says."""
    return {
        "changes": [{"kind": each.kind, "key": each.key, "text": each.text} for each in changes.differences],
        "warnings": [str(each) for each in changes.warnings],
        "not_in_file": [unfiled_facts(pool, each) for pool, each in changes.unfiled],
    }


def _json(changes: Changes) -> dict[str, Any]:
    return {
        **_changed(changes),
        "plans": [
            {
                **plan_json(each.pool, each.plan),
                "users": {"connected": each.users, "moving": each.moves.total(), "tunnels": each.tunnels},
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


def _unfiled_lines(changes: Changes) -> list[str]:
    return [f"pool {pool}: {each}" for pool, each in changes.unfiled]


def _lines(changes: Changes, *, dry: bool) -> list[str]:
    lines = [f"warning: {each}" for each in changes.warnings]
    lines += [each.text for each in changes.differences]
    lines += [f"backend {each.backend} of pool {each.pool}: {_left(each)}" for each in changes.removed if each.tunnels]
    lines += _unfiled_lines(changes)
    for plan in changes.plans:
        lines += ["", *plan_lines(plan)]
    if not changes.differences:
        lines.append("the file is the active configuration")
    else:
        lines += ["", "nothing was changed: a dry run" if dry else "all of this is active now"]
    return lines


def toml_of(written: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return a configuration as TOML, with defaults, which are not in ``given``, behind a #."""
    root = TomlTable("")
    _fill(root, written, given)
    return str(root)


def _fill(table: TomlTable, written: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name, value in written.items():
        if isinstance(value, dict):
            _fill(table.table(name), value, given.get(name, {}))
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for each, own in zip(value, given[name], strict=True):
                _fill(table.element(name), each, own)
        else:
            table.set(written_key(name), value, default=name not in given)
