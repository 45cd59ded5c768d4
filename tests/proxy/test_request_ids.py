"""Ids of requests never repeat, within a process and among processes."""

import re

from balancer.proxy.request_ids import RequestIds


def test_they_count_from_a_random_start():
    one, other = RequestIds(), RequestIds()
    ids = [one.next() for _ in range(70_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(rb"[0-9a-f]{32}", each) for each in ids)
    assert [int(each[24:], 16) for each in ids] == list(range(70_000))
    assert other.next()[:24] != ids[0][:24]
