"""Counting in buckets."""

from hypothesis import given
from hypothesis import strategies as st

from balancer.pool.traffic import REQUEST_BOUNDS, Traffic
from balancer.shared.histogram import Histogram

BOUNDS = (0.1, 1.0, 2.5)


@given(st.lists(st.one_of(st.floats(0, 5), st.sampled_from(BOUNDS))))
def test_as_prometheus_counts(times):
    histogram = Histogram(BOUNDS)
    for seconds in times:
        histogram.note(seconds)
    found = histogram.plain()
    assert found["buckets"] == {
        **{str(bound): sum(seconds <= bound for seconds in times) for bound in BOUNDS},
        "+Inf": len(times),
    }
    assert found["sum"] == sum(times)


def test_traffic():
    traffic = Traffic()
    for status in (101, 200, 204, 301, 404, 502, 0, 999):
        traffic.note(status, 0.01)
    assert traffic.by_class() == {"1xx": 1, "2xx": 2, "3xx": 1, "4xx": 1, "5xx": 1, "none": 1, "9xx": 1}
    assert traffic.seconds.plain()["buckets"]["0.01"] == 8
    assert sorted(REQUEST_BOUNDS) == list(REQUEST_BOUNDS)
