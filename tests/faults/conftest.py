"""Faults of the system, injected into real processes: descriptors, disks, pipes and processors that are not there."""

import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("e2e", "control", "daemon")]

from wire import Backend


@pytest.fixture
def backend():
    played = Backend()
    yield played
    played.close()
