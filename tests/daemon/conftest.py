"""The daemon's tests use configurations and wires of the end-to-end tests, and the client of the admin API's."""

import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("e2e", "control")]

from wire import Backend


@pytest.fixture
def backend():
    played = Backend()
    yield played
    played.close()
