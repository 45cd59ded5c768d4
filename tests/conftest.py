"""Every ``async def test_`` runs under trio; no test may leave a descriptor open."""

import gc
import inspect
import os
import tempfile

import pytest
import trio.testing
from hypothesis import HealthCheck, settings

from balancer.shared.compiled import build

settings.register_profile(
    "suite", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

TIMEOUTS = {"site": 600, "soak": 7200}
"""Seconds of a test with this mark; pyproject.toml has those of the others."""


def pytest_configure(config):
    """Commands are started hundreds of times: where the source tree is kept clean, they share bytecode elsewhere."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        folder = tempfile.TemporaryDirectory(prefix="balancer-bytecode-")
        config.add_cleanup(folder.cleanup)
        os.environ.setdefault("PYTHONPYCACHEPREFIX", folder.name)


def pytest_collection_modifyitems(items):
    for item in items:
        if build() == "compiled" and item.get_closest_marker("pure"):
            item.add_marker(pytest.mark.skip("the data plane is compiled"))
        for mark, seconds in TIMEOUTS.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.timeout(seconds))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = trio.testing.trio_test(pyfuncitem.obj)


@pytest.fixture
def autojump_clock():
    return trio.testing.MockClock(autojump_threshold=0)


def open_descriptors() -> dict[str, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
    return found


@pytest.fixture(autouse=True)
def no_leaked_descriptor(request):
    before = open_descriptors()

    def leaked():
        kinds = ("socket", "pipe", "anon_inode")
        return {n: t for n, t in open_descriptors().items() if before.get(n) != t and t.startswith(kinds)}

    yield
    if leaked():
        gc.collect()  # cycles are no leak; collecting after every test would cost minutes
        assert not leaked(), f"left open: {leaked()}"
