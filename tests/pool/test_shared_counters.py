"""The board: totals that are right whoever dies, crowds that are never undercounted, buckets that keep their rate."""

import mmap
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from balancer.errors import Refused
from balancer.shared.buckets import Metered
from balancer.shared.counters import CAPACITY, Kind, SharedCounters, prepare, size
from balancer.shared.slots import Slots

ROWS = 3
WORKERS = st.integers(0, ROWS - 1)
CELLS = st.sampled_from([(Kind.CONNECTIONS, 0), (Kind.ACTIVE, 0), (Kind.ACTIVE, CAPACITY - 1), (Kind.USERS, 7)])
CLIENTS = st.integers(0, 30).map(lambda number: b"10.0.0.%d" % number)


def memory(rows=ROWS):
    view = memoryview(bytearray(size(rows)))
    prepare(view, b"k" * 32)
    return view


class Workers(RuleBasedStateMachine):
    """Workers that count, and are killed and started again, beside plain dictionaries."""

    @initialize()
    def start(self):
        self.view = memory()
        self.boards = [SharedCounters(self.view, row) for row in range(ROWS)]
        self.numbers = [{} for _ in range(ROWS)]
        self.clients = [Counter() for _ in range(ROWS)]

    @rule(worker=WORKERS, cell=CELLS, number=st.integers(0, 1 << 40))
    def counts(self, worker, cell, number):
        self.boards[worker].cell(*cell).put(number)
        self.numbers[worker][cell] = number

    @rule(worker=WORKERS, client=CLIENTS)
    def lets_in(self, worker, client):
        shared_counters = self.boards[worker]
        shared_counters.sketch.enter(shared_counters.sketch_cells(client))
        self.clients[worker][client] += 1

    @rule(worker=WORKERS, client=CLIENTS)
    def lets_out(self, worker, client):
        if self.clients[worker][client]:
            shared_counters = self.boards[worker]
            shared_counters.sketch.leave(shared_counters.sketch_cells(client))
            self.clients[worker][client] -= 1

    @rule(worker=WORKERS)
    def is_killed_and_comes_back(self, worker):
        self.boards[worker] = SharedCounters(self.view, worker)
        self.numbers[worker] = {}
        self.clients[worker].clear()

    @invariant()
    def everyone_sees_the_same_and_the_truth(self):
        for shared_counters in self.boards:
            for cell in {cell for numbers in self.numbers for cell in numbers}:
                assert shared_counters.cell(*cell).total() == sum(numbers.get(cell, 0) for numbers in self.numbers)
            for client, held in sum(self.clients, Counter()).items():
                cells = shared_counters.sketch_cells(client)  # these few share no cell
                assert shared_counters.sketch.count(cells) == held


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=30, stateful_step_count=30)


def test_a_crowd_is_seldom_overcounted_and_never_undercounted():
    shared_counters = SharedCounters(memory(1), 0)
    clients = [b"10.%d.%d.1" % divmod(number, 256) for number in range(20_000)]
    for client in clients:
        shared_counters.sketch.enter(shared_counters.sketch_cells(client))
    counts = Counter(shared_counters.sketch.count(shared_counters.sketch_cells(client)) for client in clients)
    assert min(counts) == 1
    assert counts[1] > 0.9 * len(clients)
    assert max(counts) < 6


def test_cells_of_clients_cannot_be_foretold():
    views = memory(1), memory(1)
    prepare(views[1], b"K" * 32)
    one, other = (SharedCounters(view, 0) for view in views)
    assert one.sketch_cells(b"10.0.0.1") != other.sketch_cells(b"10.0.0.1")


@given(
    rate=st.sampled_from([0.1, 1.0, 7.0, 1000.0]),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 3), max_size=60),
)
def test_buckets_are_token_buckets(rate, burst, pauses):
    shared_counters = SharedCounters(memory(1), 0)
    buckets, places = shared_counters.buckets(Metered.CLIENTS), shared_counters.sketch_cells(b"10.0.0.1")
    tokens, now = float(burst), 1000.0
    for pause in pauses:
        now += pause / rate
        tokens = min(burst, tokens + pause)
        wait = buckets.take(places, now, rate, burst)
        if wait:
            assert tokens < 1 + 1e-6
            assert wait == pytest.approx((1 - tokens) / rate, abs=1e-6 / rate)
        else:
            assert tokens > 1 - 1e-6
            tokens -= 1


def test_buckets_are_shared_by_workers_and_not_by_clients_or_kinds():
    view = memory()
    one, other = SharedCounters(view, 0), SharedCounters(view, 1)
    places = one.sketch_cells(b"10.0.0.1")
    assert one.buckets(Metered.CLIENTS).take(places, 5.0, 1.0, 1) == 0
    assert other.buckets(Metered.CLIENTS).take(places, 5.0, 1.0, 1) == 1.0
    assert other.buckets(Metered.CLIENTS).take(other.sketch_cells(b"10.0.0.2"), 5.0, 1.0, 1) == 0
    assert other.buckets(Metered.TOKENS).take(places, 5.0, 1.0, 1) == 0


CHILD = """
import mmap, sys
from balancer.shared.counters import SharedCounters, Kind
file, row = sys.argv[1], int(sys.argv[2])
with open(file, "r+b") as opened:
    shared_counters = SharedCounters(memoryview(mmap.mmap(opened.fileno(), 0)), row)
cell, places = shared_counters.cell(Kind.ACTIVE, 3), shared_counters.sketch_cells(b"10.0.0.1")
for number in range(20_000):
    cell.put(number)
    shared_counters.sketch.enter(places)
print(shared_counters.sketch_cells(b"10.0.0.1"))
"""


def test_processes_do_not_disturb_each_other(tmp_path):
    file = tmp_path / "board"
    file.write_bytes(bytes(size(ROWS)))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as shared, memoryview(shared) as view:
        prepare(view, b"k" * 32)
        del view
    command = [sys.executable, "-c", CHILD, file]
    children = [subprocess.Popen([*command, str(row)], stdout=subprocess.PIPE, text=True) for row in (0, 2)]
    said = {child.communicate()[0] for child in children}
    shared_counters = SharedCounters(memoryview(bytearray(file.read_bytes())), 1)
    assert said == {f"{shared_counters.sketch_cells(b'10.0.0.1')}\n"}
    assert shared_counters.cell(Kind.ACTIVE, 3).total() == 2 * 19_999
    assert shared_counters.sketch.count(shared_counters.sketch_cells(b"10.0.0.1")) == 2 * 20_000


class TestSeats:
    @given(st.lists(st.tuples(st.sampled_from("pq"), st.sets(st.sampled_from("abcdefgh"))), max_size=20))
    def test_each_backend_keeps_its_own(self, changes):
        slots, held = Slots(), {}
        for pool, names in changes:
            assigned = slots.assign(pool, sorted(names))
            assert assigned.keys() == names
            before = held.get(pool, {})
            assert all(assigned[name] == before[name] for name in names & before.keys())
            held[pool] = assigned
            everyone = [slot for pool in held.values() for slot in pool.values()]
            assert len(set(everyone)) == len(everyone)

    def test_what_became_free_comes_last(self):
        slots = Slots()
        assert slots.assign("ide", "ab") == {"a": 0, "b": 1}
        assert slots.assign("ide", "b") == {"b": 1}
        assert slots.assign("ide", "bcd") == {"b": 1, "c": 2, "d": 3}

    def test_there_are_so_many(self):
        slots = Slots()
        slots.assign("ide", map(str, range(CAPACITY)))
        with pytest.raises(Refused, match=f"more than {CAPACITY} backends"):
            slots.assign("other", ["one"])
        slots.assign("ide", [])
        assert slots.assign("other", ["one"]) == {"one": 0}
