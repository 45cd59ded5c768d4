"""Prove that the workers of a new version can serve, before they accept anybody."""

import trio

from balancer.control.worker_registry import WorkerRegistry

READY_TIMEOUT = 30.0
"""Seconds within which they have to have their configuration."""
TEST_TIMEOUT = 10.0
"""Seconds within which they have to answer requests of their own."""


async def prove(registry: WorkerRegistry, workers: int, seconds: float) -> str:
    """Watch so many workers for some seconds, at the beginning and the end of which they serve requests of their own.

    Return what is wrong with them, or an empty string. That one ends is noticed by the supervisor.
    """
    with trio.move_on_after(READY_TIMEOUT):
        while not registry.has_set_up(workers):
            if problem := registry.rejection():
                return problem
            await registry.heard()
    if not registry.has_set_up(workers):
        return f"not all of {workers} workers are ready within {READY_TIMEOUT:g} s"
    problem = await registry.tested(TEST_TIMEOUT)
    if problem:
        return problem
    await trio.sleep(seconds)
    return registry.rejection() or await registry.tested(TEST_TIMEOUT)
