"""Daemons shared by the tests of a module, and backends the tests play themselves."""

import contextlib
import sys
from pathlib import Path

import pytest
from authority import Authority
from harness import Daemon
from wire import Backend

sys.path.append(str(Path(__file__).parents[1] / "migrate"))
_running = []


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts daemons that live as long as the module."""
    with contextlib.ExitStack() as stack:

        def start(**config):
            daemon = stack.enter_context(Daemon(tmp_path_factory.mktemp("daemon"), **config))
            _running.append(daemon)
            stack.callback(_running.remove, daemon)
            return daemon

        yield start


@pytest.fixture(autouse=True)
def nothing_crashes():
    yield
    for daemon in _running:
        daemon.check()


@pytest.fixture(scope="module")
def hosts():
    """Makes backends that live as long as the module."""
    with contextlib.ExitStack() as stack:

        def make():
            backend = Backend()
            stack.callback(backend.close)
            return backend

        yield make


@pytest.fixture(scope="module")
def homes(request, hosts):
    """One backend for each pool of the module's daemon, which are its ``NAMES``."""
    return [hosts() for _ in request.module.NAMES]


@pytest.fixture
def backends(homes):
    """These backends, without connections of other tests."""
    yield homes
    for each in homes:
        each.forget()


@pytest.fixture(scope="module")
def home(hosts):
    """The backend of a module's daemon, where one is enough."""
    return hosts()


@pytest.fixture
def backend(home):
    """``home`` without connections of other tests."""
    yield home
    home.forget()
