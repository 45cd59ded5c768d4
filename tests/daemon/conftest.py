"""The daemon's tests use configurations and wires of the end-to-end tests."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from wire import Backend


@pytest.fixture
def backend():
    played = Backend()
    yield played
    played.close()
