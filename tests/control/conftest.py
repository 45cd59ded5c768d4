"""The admin tests run the daemon of the end-to-end tests."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from admin_rig import AdminDaemon  # noqa: E402  # needs the path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon with three backends that nobody is at, shared by a module."""
    with AdminDaemon(tmp_path_factory.mktemp("admin")) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_crashes(request):
    yield
    if "daemon" in request.fixturenames:
        request.getfixturevalue("daemon").check()
