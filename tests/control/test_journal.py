"""What was acknowledged is there again, whatever has happened to the process, the files or the disk."""

import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from state import START, TOKEN, journal, journaled, keeping, pin

from balancer.config.pool import BackendConfig, RingConfig
from balancer.errors import Refused
from balancer.overlay.entries import Entry, RingRecord
from balancer.overlay.overlay import Add, Overlay, Pin, Remove, SetState, SetWeight, Steer, Unpin
from balancer.store.journal import Journal
from balancer.store.snapshot import read_entry

PINNER = Path(__file__).with_name("pinner.py")
names = st.sampled_from(["a", "b", "c"])
digests = st.integers(0, 9).map("{:016x}".format)
times = st.floats(0, 1e10)
changes = (
    st.builds(Pin, digest=digests, prefix=st.none() | st.integers(1, 9), backend=names, until=st.none() | times,
              reason=st.sampled_from(["", "why not", 'quotes " and \\ and ü']), author=st.just("root"), since=times)
    | st.builds(Unpin, digest=digests, prefix=st.none() | st.integers(1, 9))
    | st.builds(SetState, backend=names, state=st.sampled_from(["ready", "drain", "maint"]), since=times)
    | st.builds(SetWeight, backend=names, weight=st.floats(0, 256), over=st.floats(0, 86400), since=times)
    | st.builds(Steer, backend=names, action=st.sampled_from(["pause", "resume", "rollback"]), since=times)
    | st.builds(Add, name=names, address=st.sampled_from(["127.0.0.1:1", "[::1]:65535", "unix:/run/x"]))
    | st.builds(Remove, name=names)
)  # fmt: skip
WEIGHTS = {"a": 1.0, "b": 0.5}
CONFIG = RingRecord(
    ring=RingConfig(),
    backends=tuple(BackendConfig(name=n, address="127.0.0.1:1", weight=w) for n, w in WEIGHTS.items()),
)


def entry(seq, *made, at=START, **more):
    return Entry(seq=seq, time=at, who="tests", pool="ide", changes=made, after="0" * 16, **more)


def pinned(number, backend="a"):
    return Pin(digest=f"{number:016x}", backend=backend)


def written(folder, count):
    """A journal with its configuration and ``count`` pins, without a sum."""
    with journal(folder) as store:
        store.append(entry(1, config=CONFIG))
        for number in range(count):
            store.append(entry(2 + number, pinned(number)))


def pins_in(folder):
    with journal(folder) as store:
        overlay = store.load().overlays.get("ide", Overlay())
        return [int(key, 16) for key in overlay.pins]


@given(st.lists(changes, max_size=4), st.none() | st.just(CONFIG), times)
def test_a_line_says_all_of_an_entry(made, configured, at):
    before = entry(7, *made, at=at, config=configured)
    assert read_entry(before.model_dump_json(exclude_none=True).encode()) == before


@settings(max_examples=40)
@given(made=st.lists(st.tuples(changes, st.floats(0, 5000)), max_size=30), saved=st.integers(0, 30))
def test_lines_replayed_give_the_overlay_again(tmp_path_factory, made, saved):
    """All from the journal, or from the sum of the first few and the rest."""
    folder = tmp_path_factory.mktemp("state")
    overlay, now, seq = Overlay(), START, 1
    with journal(folder) as store:
        store.append(entry(1, config=CONFIG))
        for change, passed in made:
            now += passed
            try:
                overlay = overlay.apply(change, WEIGHTS, now, "tests")
            except Refused:
                continue
            seq += 1
            store.append(entry(seq, change, at=now))
            if seq <= saved:
                store.save(seq, {"ide": overlay}, {"ide": CONFIG})
    with journal(folder) as store:
        memory = store.load()
        assert memory.seq == seq
        assert memory.overlays["ide"] == overlay
        assert memory.configs == {"ide": CONFIG}


@settings(max_examples=30)
@given(cut=st.integers(1, 2000))
def test_a_torn_last_line_was_never_acknowledged(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("state")
    written(folder, 5)
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines[-1][: cut % (len(lines[-1]) - 1) + 1]
    if torn.endswith(b"\n"):
        torn = torn[:-1]
    path.write_bytes(b"".join(lines[:-1]) + torn)
    assert pins_in(folder) == [0, 1, 2, 3]
    with journal(folder) as store:  # and the next line does not stick to what was left of it
        memory = store.load()
        store.append(entry(memory.seq + 1, pinned(99)))
    assert pins_in(folder) == [0, 1, 2, 3, 99]


def test_reading_does_not_cut_off_a_line_that_is_being_written(tmp_path):
    written(tmp_path, 1)
    with journal(tmp_path) as store:
        line = entry(3, pinned(1)).model_dump_json(exclude_none=True).encode() + b"\n"
        with open(tmp_path / "journal.jsonl", "ab", buffering=0) as other:
            other.write(line[:20])
            assert [each.seq for each in journaled(store)] == [1, 2]
            other.write(line[20:])
        assert [each.seq for each in journaled(store)] == [1, 2, 3]


@pytest.mark.parametrize("damage", [b"\x00" * 40, b"{}", b"", b'{"seq": 3', b"\xff\xfe", b"[" * 3000])
def test_a_damaged_line_in_the_middle_costs_no_other(tmp_path, caplog, damage):
    written(tmp_path, 4)
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines()
    lines[2] = damage
    path.write_bytes(b"\n".join(lines) + b"\n")
    whole = path.read_bytes()
    assert pins_in(tmp_path) == [0, 2, 3]
    assert "damaged and ignored: line 3" in caplog.text
    assert path.read_bytes() == whole


def saved(folder):
    """As ``written`` with four pins, and the sum of them all."""
    written(folder, 4)
    with journal(folder) as store:
        memory = store.load()
        store.save(memory.seq, memory.overlays, memory.configs)
    return folder / "overlay.json"


def test_a_damaged_line_that_the_sum_has_costs_nothing(tmp_path):
    saved(tmp_path)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":3', b'"seq"#3'))
    assert pins_in(tmp_path) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"{}", b"\x00" * 100, b"null", b'{"seq":"5","overlays":{},"configs":{}}']
)
def test_a_damaged_sum_is_set_aside_and_made_again(tmp_path, caplog, damage):
    path = saved(tmp_path)
    path.write_bytes(damage)
    assert pins_in(tmp_path) == [0, 1, 2, 3]
    assert "made again from the journal" in caplog.text
    (aside,) = tmp_path.glob("overlay.json.damaged-*")
    assert aside.read_bytes() == damage


def test_a_missing_or_an_old_sum_makes_no_difference(tmp_path):
    path = saved(tmp_path)
    old = path.read_bytes()
    with journal(tmp_path) as store:
        store.append(entry(6, pinned(4), pinned(5)))
        memory = store.load()
        store.save(memory.seq, memory.overlays, memory.configs)
    path.write_bytes(old)
    assert pins_in(tmp_path) == [0, 1, 2, 3, 4, 5]
    path.unlink()
    assert pins_in(tmp_path) == [0, 1, 2, 3, 4, 5]


def test_a_lost_journal_leaves_the_sum(tmp_path):
    saved(tmp_path)
    (tmp_path / "journal.jsonl").unlink()
    assert pins_in(tmp_path) == [0, 1, 2, 3]
    with journal(tmp_path) as store:
        assert store.load().seq == 5


def test_a_half_written_sum_beside_does_not_matter(tmp_path):
    saved(tmp_path)
    (tmp_path / "overlay.json.new").write_bytes(b"{")
    assert pins_in(tmp_path) == [0, 1, 2, 3]


def test_what_no_longer_fits_the_configuration_is_said_and_skipped(tmp_path, caplog):
    with journal(tmp_path) as store:
        store.append(entry(1, config=CONFIG))
        store.append(entry(2, pinned(1, "gone"), pinned(2)))
    assert pins_in(tmp_path) == [2]
    assert "entry 2 of the journal no longer applies" in caplog.text


def test_one_daemon_at_a_time(tmp_path):
    with journal(tmp_path):
        with pytest.raises(Refused, match="in use by another daemon"):
            Journal(tmp_path)
        other = subprocess.run([sys.executable, PINNER, tmp_path], input="go\n", capture_output=True, text=True)
        assert "in use by another daemon" in other.stderr
    with journal(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="it has to be a directory"):
        Journal(tmp_path / "file" / "state")


def test_a_key_that_is_none_is_set_aside(tmp_path, caplog):
    keys = []
    for damage in (None, None, b"short"):
        if damage is not None:
            (tmp_path / "digest.key").write_bytes(damage)
        with journal(tmp_path) as store:
            keys.append(store.key)
    assert keys[0] == keys[1] == keys[2], "it is derived from the secret again"
    assert len(keys[0]) == 32
    assert "no longer match" in caplog.text
    assert len(list(tmp_path.glob("digest.key.damaged-*"))) == 1


@contextmanager
def at_most(size):
    """No file may grow beyond ``size`` bytes: what a full disk looks like to who writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_refuses_and_changes_nothing(tmp_path):
    async with keeping(tmp_path) as controller:
        pool_state = controller.pool_state("ide")
        await controller.change("ide", [pin(controller, b"ann", "a")], "tests")
        path = tmp_path / "journal.jsonl"
        before, overlay, seq = path.read_bytes(), pool_state.overlay, controller.seq
        for room in (0, 1, 50):
            with at_most(len(before) + room), pytest.raises(Refused, match="nothing was changed"):
                await controller.change("ide", [pin(controller, b"bob", "b")], "tests")
            assert path.read_bytes() == before
            assert (pool_state.overlay, controller.seq) == (overlay, seq)
            assert pool_state.placement.pinned(b"bob") is None
        await controller.change("ide", [pin(controller, b"eve", "c")], "tests")
        assert pool_state.placement.pinned(b"eve") == "c"
        expected = pool_state.overlay
    with journal(tmp_path) as store:
        assert store.load().overlays["ide"] == expected


async def test_a_sum_that_finds_no_room_is_only_said(tmp_path, caplog):
    """The journal has the change, so it counts."""
    written(tmp_path, 40)
    room = (tmp_path / "journal.jsonl").stat().st_size + 2000
    async with keeping(tmp_path) as controller:
        with at_most(room):
            for number in range(3):
                await controller.change("ide", [pin(controller, b"ann-%d" % number, "a")], "tests")
        expected = controller.pool_state("ide").overlay
    assert "the journal still has every change" in caplog.text
    with journal(tmp_path) as store:
        assert store.load().overlays["ide"] == expected


async def test_a_disk_full_at_the_start_does_not_stop_it(tmp_path, caplog):
    with journal(tmp_path):
        pass
    with at_most(0):
        async with keeping(tmp_path) as controller:
            assert controller.pool_state("ide").ring.members == ("a", "b", "c")
    assert "nothing was changed" in caplog.text
    async with keeping(tmp_path) as controller:
        assert journaled(controller)[0].config is not None


def test_a_key_that_cannot_be_kept_is_refused(tmp_path):
    with at_most(0), pytest.raises(Refused, match=r"secret\.key"):
        Journal(tmp_path)
    with journal(tmp_path):  # and the directory is free again
        pass


async def test_only_the_owner_reads_and_no_token_is_written(tmp_path):
    folder = tmp_path / "deep" / "state"
    async with keeping(folder) as controller:
        await controller.change(
            "ide", [pin(controller, TOKEN, "a"), pin(controller, TOKEN[:9], "b", prefix=9)], "tests"
        )
        await controller.change("ide", [Unpin(digest=controller.digest(TOKEN))], "tests")
    assert folder.stat().st_mode & 0o777 == 0o700
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["digest.key", "journal.jsonl", "lock", "overlay.json", "secret.key"]
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert TOKEN[:9] not in path.read_bytes()


def test_lines_are_for_reading(tmp_path):
    written(tmp_path, 1)
    last = json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[-1])
    assert last["changes"][0]["op"] == "pin"
    assert (last["seq"], last["who"], last["time"]) == (2, "tests", START)


def test_killed_at_any_moment_no_acknowledged_pin_is_lost(tmp_path):
    """The pins add up over the rounds; each start must know all that were told before."""
    moments, acknowledged = random.Random(7), []
    with subprocess.Popen([sys.executable, PINNER, tmp_path], stdin=PIPE, stdout=PIPE, text=True) as pinner:
        for _ in range(40):
            pinner.stdin.write("again\n")
            pinner.stdin.flush()
            child, *known = pinner.stdout.readline().split()
            assert known[: len(acknowledged)] == acknowledged
            assert len(known) <= len(acknowledged) + 1  # one may have been written and not been told
            acknowledged = known
            for _ in range(moments.randrange(9)):
                acknowledged.append(pinner.stdout.readline().strip())
            for _ in range(moments.randrange(40000)):  # some moment before the next one is told
                pass
            os.kill(int(child), signal.SIGKILL)
            while (line := pinner.stdout.readline().strip()) != "gone":
                acknowledged.append(line)
        pinner.stdin.close()
    assert len(acknowledged) > 100
    assert pins_in(tmp_path)[: len(acknowledged)] == [int(digest, 16) for digest in acknowledged]


@pytest.fixture(autouse=True)
def hear(caplog):
    caplog.set_level(logging.INFO)
