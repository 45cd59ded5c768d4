"""The admin API: JSON, or text for people or a picture where a client asks for it with ``Accept``.

GET changes nothing; whatever changes something honours ``If-Match`` with the ``ETag`` of the pool. No token is ever in
a URL or in an answer.
"""

import trio

from balancer.admin.handler import Handler
from balancer.admin.listener_set import AdminListeners
from balancer.admin.listeners import AdminListener
from balancer.admin.metrics import Metrics
from balancer.admin.periodic_counts import PeriodicCounts
from balancer.admin.services import Services
from balancer.admin.views import Views


class AdminApi:
    """Serves the admin API through ``listeners``, which may change while it runs."""

    def __init__(self, services: Services, listeners: AdminListeners) -> None:
        self._services = services
        self._listeners = listeners
        self._counts = PeriodicCounts(services.pools, services.evictions, services.events)
        self._views = Views(services, self._counts)
        self._metrics = Metrics(services, self._views)

    async def run(
        self, first: list[AdminListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled, starting with the listeners ``first``; all are closed at the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._counts.run)

            def handler(listener: AdminListener) -> Handler:
                return Handler(self._services, self._views, self._metrics, nursery, listener)

            await self._listeners.run(handler, first, task_status=task_status)
