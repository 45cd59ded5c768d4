"""A clock that stands still until the test moves it."""

import pytest
import trio.testing


@pytest.fixture
def clock():
    return trio.testing.MockClock()
