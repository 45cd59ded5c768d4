"""The benchmark of ring swaps: it replaces rings, and its round trips are those of a relay."""

import trio

from bench.swap import measure


def test_it_measures_with_and_without_swaps():
    for trips in trio.run(measure, 20, 2):
        assert len(trips.clock) == len(trips.processor) > 10
        assert all(0 < trip < 10_000 for trip in trips.clock + trips.processor)
