"""Handlers that replace the running version by another one."""

from typing import Any

from balancer.admin import requests
from balancer.admin.call import Call
from balancer.admin.server import ApiResponse
from balancer.ipc.supervision import Upgrade


async def upgrade(call: Call) -> ApiResponse:
    """Upgrade to a release, or with ``dry_run`` only rehearse it; answered when the rehearsal has passed."""
    body = call.body(requests.UpgradeBody)
    news = await call.services.upgrader.upgrade(
        body.to, call.who, any_path=call.local, dry_run=body.dry_run, allow_moves=body.allow_moves
    )
    return call.answer(upgrade_facts(news))


async def last(call: Call) -> ApiResponse:
    """Show what has become of the last upgrade."""
    return call.answer(upgrade_facts(call.services.upgrader.news))


async def finish(call: Call) -> ApiResponse:
    """End the connections that workers of previous versions still have, within ``over`` seconds."""
    over = call.body(requests.FinishBody).over
    if over is None:
        over = call.services.config.timeouts.close_spread
    workers, tunnels = call.services.upgrader.finish(over, call.who)
    return call.answer({"workers": workers, "tunnels": tunnels, "over": over})


def upgrade_facts(news: Upgrade) -> dict[str, Any]:
    """Return what is known of an upgrade."""
    return {
        "number": news.number,
        "state": news.state,
        "who": news.who or None,
        "from": news.before or None,
        "version": news.version or None,
        "release": news.release or None,
        "problem": news.problem or None,
        "notes": list(news.notes),
        "since": news.since or None,
    }
