"""The budget of retries: never more than its share and its reserve, whatever comes when."""

from hypothesis import given
from hypothesis import strategies as st

from balancer.pool.retries import MAX_SAVED, SPARE_RATE, Retries

STEPS = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 500), st.integers(0, 300)), max_size=30)
"""So many seconds and requests, then so many retries that are asked for."""


@given(STEPS, st.sampled_from([0.0, 0.2, 1.0]))
def test_it_keeps_to_its_share(steps, share):
    retries, now, requests, spent = Retries(), 0.0, 0, 0
    for seconds, more, wanted in steps:
        now, requests = now + seconds, requests + more
        given_ = [retries.spend(now, requests, share) for _ in range(wanted)]
        assert given_ == sorted(given_, reverse=True)  # none comes back while nothing happens
        spent += sum(given_)
        assert spent <= MAX_SAVED + SPARE_RATE * now + share * requests + 1e-6
        if seconds > MAX_SAVED / SPARE_RATE + 1e-6:
            assert sum(given_) == min(wanted, MAX_SAVED)  # after a quiet while all of the reserve is there


def test_a_pool_that_fails_every_request_is_asked_a_fifth_more_and_no_more():
    retries, now, requests = Retries(), 1000.0, 0
    for _ in range(200):  # let the reserve go
        retries.spend(now, requests, 0.2)
    spent = 0
    for _ in range(10_000):
        now += 0.001
        requests += 1
        spent += retries.spend(now, requests, 0.2)
    assert 2000 <= spent <= 2000 + SPARE_RATE * 10 + 1
