"""A backend at run time: tried or not, and told apart by name."""

from balancer.config.scalars import Address
from balancer.pool.backend import HOLD_OFF, Backend


def test_a_failed_connect_holds_off_for_a_while():
    backend = Backend("a", Address("127.0.0.1", 1))
    assert backend.unavailable(100.0) == ""
    backend.connect_failed(100.0)
    assert backend.unavailable(100.0) == backend.unavailable(100.0 + HOLD_OFF - 0.01) == "failed to connect"
    assert backend.unavailable(100.0 + HOLD_OFF) == ""
    backend.connect_failed(200.0)
    backend.connected()
    assert backend.unavailable(200.0) == ""
    assert (backend.connects, backend.connect_errors) == (1, 2)
