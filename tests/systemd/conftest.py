"""Debian with systemd as process 1, and the daemon on it as docs/installation.md installs it."""

import contextlib
import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("e2e", "migrate")]

from debian import Debian, debian_tree
from installed import Installed
from machines import Machine
from wire import Backend


@pytest.fixture(scope="session")
def tree():
    return debian_tree()


@pytest.fixture
def installed(tree, tmp_path):
    """The daemon, enabled and started, in front of one backend that the test plays: ``installed.backend``."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(contextlib.closing(Machine()))
        debian = stack.enter_context(Debian(tree, tmp_path, network))
        with network:
            backend = stack.enter_context(contextlib.closing(Backend()))
        yield Installed(debian, backend)
