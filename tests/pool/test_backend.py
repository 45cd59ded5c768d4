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


def test_the_wait_grows_and_what_is_tried_meanwhile_does_not_count():
    backend, now, waits = Backend("a", Address("127.0.0.1", 1)), 1000.0, []
    for _ in range(15):
        for _ in range(3):  # for want of others
            backend.connect_failed(now)
        waits.append(backend.held_until - now)
        now = backend.held_until
    assert waits == [min(5.0 * n, 60.0) for n in range(1, 16)]
    backend.connected()
    backend.connect_failed(now + 1.0)
    assert backend.held_until - now > 59.0, "one answer is not yet good behaviour"
    backend.connect_failed(now + 3600.0)
    assert backend.held_until == now + 3600.0 + HOLD_OFF


def test_gauges_say_for_how_long_it_is_held_off():
    backend = Backend("a", Address("127.0.0.1", 1))
    backend.enter()
    backend.tunnels = 1
    backend.connect_failed(100.0)
    assert backend.gauges(100.0 + HOLD_OFF - 0.01) == (1, 1, 0, 1)
    assert backend.gauges(100.0 + HOLD_OFF) == (1, 1, 0, 0)
