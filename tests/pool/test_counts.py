"""What workers count, added up: each number once, whichever order they come in."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st
from pools import open_pool

from balancer.control.worker_counts import PoolCounts, backend_counts
from balancer.pool.backend import Backend
from balancer.pool.counts import added, pool_counters, pool_gauges

numbers = st.integers(0, 1 << 40)
counts = st.fixed_dictionaries(
    {"total": numbers, "seconds": st.lists(numbers, min_size=3, max_size=3)},
    optional={name: st.dictionaries(st.sampled_from("xyz"), numbers) for name in ("a", "b")},
)


def flat(count, at=()):
    """Every number with where it is."""
    if isinstance(count, int):
        return {at: count}
    items = count.items() if isinstance(count, dict) else enumerate(count)
    return {place: number for key, each in items for place, number in flat(each, (*at, key)).items()}


@given(st.lists(counts, min_size=1, max_size=4), st.randoms())
def test_a_sum_is_that_of_each_number(several, random):
    total = flat(reduce(added, several))
    assert total == {
        place: sum(flat(each).get(place, 0) for each in several)
        for place in {p for each in several for p in flat(each)}
    }
    random.shuffle(several)
    assert flat(reduce(added, several)) == total
    assert flat(added({}, several[0])) == flat(several[0])


@given(st.lists(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(Backend.COUNTERS)), max_size=20)))
def test_control_shows_what_all_workers_have_counted(work):
    shown, workers = PoolCounts(), [open_pool(["a", "b"]) for _ in work]
    for pool, events in zip(workers, work, strict=True):
        for name, counter in events:
            backend = pool.backends[name]
            setattr(backend, counter, getattr(backend, counter) + 1)
            backend.active += 1
            pool.decisions["owner"] = pool.decisions.get("owner", 0) + 1
    counters = reduce(added, map(pool_counters, workers), {})
    gauges = reduce(added, (pool_gauges(pool, 0.0) for pool in workers), {})
    shown.show(counters)
    for name in ("a", "b"):
        for counter in (*Backend.COUNTERS, "active"):
            assert getattr(backend_counts(name, counters, gauges), counter) == sum(
                getattr(w.backends[name], counter) for w in workers
            )
    assert shown.decisions["owner"] == sum(map(len, work))


def test_a_backend_that_only_some_have_counts_all_the_same():
    """One worker has heard of it, another has not yet, and one that has ended knew one that is gone."""
    old, new = open_pool(["a", "gone"]), open_pool(["a", "new"])
    for pool in (old, new):
        for backend in pool.backends.values():
            backend.requests = 1
    counters, gauges = added(pool_counters(old), pool_counters(new)), pool_gauges(new, 0.0)
    assert [backend_counts(name, counters, gauges).requests for name in ("a", "new", "unknown")] == [2, 1, 0]
