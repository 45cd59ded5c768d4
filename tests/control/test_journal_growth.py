"""A journal of years, or of other versions: nothing in it is lost, and nothing reads all of it."""

import errno
import json
import logging
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from state import START, journal

from balancer.config.pool import BackendConfig, RingConfig
from balancer.errors import Refused
from balancer.overlay.entries import FORMAT, Entry, RingRecord
from balancer.overlay.overlay import Overlay, Pin, SetState, SetWeight
from balancer.overlay.replay import replayed
from balancer.store import atomic, checkpoints, lines
from balancer.store import journal as module
from balancer.store.snapshot import Snapshot

CONFIG = RingRecord(
    ring=RingConfig(),
    backends=tuple(BackendConfig(name=name, address="127.0.0.1:1", weight=1.0) for name in ("a", "b")),
)


def entry(seq, *made, at=None, pool="ide", **more):
    return Entry(seq=seq, time=START + seq if at is None else at, who="tests", pool=pool, changes=made, after="0" * 16,
                 **more)  # fmt: skip


def pinned(number):
    return Pin(digest=f"{number:016x}", backend="a")


def change(seq):
    return pinned(seq % 7) if seq % 3 else SetWeight(backend="b", weight=float(seq % 5 + 1))


def grown(store, count, saved=True):
    """A journal with so many entries, written as the controller writes it; two pools."""
    snapshot = Snapshot()
    for seq in range(1, count + 1):
        pool = "ide" if seq % 4 else "other"
        config = {"config": CONFIG} if seq in (1, 4) else {}
        each = entry(seq, *([] if config else [change(seq)]), pool=pool, **config)
        store.append(each)
        snapshot.add(each)
        if saved:
            store.save(each.seq, snapshot.overlays, snapshot.configs)
    return snapshot


@pytest.fixture
def small(monkeypatch):
    """Parts and distances as if the journal were a thousand times larger."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_EVERY", 2000)
    monkeypatch.setattr(checkpoints, "SHARE", 0)
    monkeypatch.setattr(lines, "PART", 300)


def read(monkeypatch):
    """Bytes read from now on, by ``pread``."""
    total = [0]
    pread = os.pread

    def counting(fd, size, offset):
        total[0] += size
        return pread(fd, size, offset)

    monkeypatch.setattr(lines.os, "pread", counting)
    return total


class TestSize:
    def test_a_start_and_a_query_read_the_end_only(self, tmp_path, small, monkeypatch):
        with journal(tmp_path) as store:
            snapshot = grown(store, 400)
        total = read(monkeypatch)
        with journal(tmp_path) as store:
            assert store.load() == snapshot
            assert total[0] < 2000
            newest, count = store.newest("ide", 5)
            assert [each.seq for each in newest] == [394, 395, 397, 398, 399]
            assert count == 300
            assert total[0] < 6000
            size = (tmp_path / "journal.jsonl").stat().st_size
            assert size > 50_000

    def test_looking_back_begins_at_a_checkpoint(self, tmp_path, small, monkeypatch):
        with journal(tmp_path) as store:
            grown(store, 400)
            assert len(list((tmp_path / "checkpoints").iterdir())) > 20
            monkeypatch.setattr(module, "CLOCK_SLACK", 0)
            total = read(monkeypatch)
            assert store.state_at("ide", START + 350)[1] == replay(store, "ide", START + 350)
            assert total[0] < 20_000 + 2 * (tmp_path / "journal.jsonl").stat().st_size  # the second is that of replay

    @settings(max_examples=40)
    @given(at=st.integers(0, 170), saved=st.booleans(), lost=st.sets(st.integers(0, 20)), again=st.booleans())
    def test_every_moment_is_what_the_lines_make_it(self, tmp_path_factory, at, saved, lost, again):
        folder = tmp_path_factory.mktemp("state")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "CHECKPOINT_EVERY", 1000)
            patch.setattr(checkpoints, "SHARE", 0)
            patch.setattr(os, "fsync", lambda fd: None)
            with journal(folder) as store:
                grown(store, 150, saved)
            for number, path in enumerate(sorted((folder / "checkpoints").glob("*"))):
                if number in lost:
                    path.unlink() if again else path.write_bytes(b"{")
            with journal(folder) as store:
                for _ in range(2):  # the first may make checkpoints, which the second uses
                    state = store.state_at("ide", START + at)
                    assert (state is None) == (at < 1)
                    if state is not None:
                        assert state == (CONFIG, replay(store, "ide", START + at))

    def test_a_clock_that_was_set_back(self, tmp_path):
        with journal(tmp_path) as store:
            store.append(entry(1, config=CONFIG), entry(2, pinned(1)))
            store.append(entry(3, pinned(2), at=START + 3000), entry(4, pinned(3), at=START + 10))
            assert set(store.state_at("ide", START + 20)[1].pins) == {pinned(1).key, pinned(3).key}

    def test_checkpoints_of_another_journal_are_not_used(self, tmp_path, small):
        with journal(tmp_path) as store:
            grown(store, 200)
        lines_now = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
        other = [line.replace(b'"seq":1', b'"seq":9') for line in lines_now if b'"seq":5' not in line]
        (tmp_path / "journal.jsonl").write_bytes(b"".join(other))  # somebody has edited it
        with journal(tmp_path) as store:
            assert store.state_at("ide", START + 150)[1] == replay(store, "ide", START + 150)

    def test_a_snapshot_without_counts_is_counted(self, tmp_path):
        """As the version before this wrote it."""
        with journal(tmp_path) as store:
            snapshot = grown(store, 40)
        path = tmp_path / "overlay.json"
        saved = json.loads(path.read_text())
        path.write_text(json.dumps({name: saved[name] for name in ("seq", "overlays", "configs")}, indent=1))
        with journal(tmp_path) as store:
            store.append(entry(41, pinned(1)))
            assert store.load().counts == {"ide": 31, "other": 10}
            assert store.load().time == START + 41
            assert store.newest("ide", 1)[1] == 31
            assert snapshot.seq == 40


def replay(store, pool, at):
    overlay = Overlay()
    for each in store.newest(pool, 1 << 20)[0]:
        if each.time <= at:
            overlay = replayed(overlay, each, CONFIG)
    return overlay


class TestVersions:
    def line(self, seq=3, **more):
        made = {"op": "pin", "digest": "0" * 16, "backend": "a"}
        fields = {"seq": seq, "time": START + seq, "who": "newer", "pool": "ide", "changes": [made], "after": "0" * 16}
        return fields | more

    def folder(self, path, *lines):
        with journal(path) as store:
            store.append(entry(1, config=CONFIG), entry(2, SetState(backend="b", state="drain")))
        with (path / "journal.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        return path

    def test_lines_of_the_first_format_do_not_say_so(self, tmp_path):
        """An older version refuses keys that it does not know."""
        self.folder(tmp_path)
        assert "format" not in (tmp_path / "journal.jsonl").read_text()

    def test_fields_of_a_newer_version_are_kept_and_ignored(self, tmp_path):
        newer = self.line(format=FORMAT + 1, min=FORMAT, region="eu")
        newer["changes"][0]["colour"] = "red"
        self.folder(tmp_path, newer)
        with journal(tmp_path) as store:
            snapshot = store.load()
            assert snapshot.seq == 3
            assert set(snapshot.overlays["ide"].pins) == {"0" * 16}
            store.append(entry(4, pinned(4)))
            store.save(4, snapshot.overlays, snapshot.configs)
        assert '"colour": "red"' in (tmp_path / "journal.jsonl").read_text()

    @pytest.mark.parametrize("changes", [None, [{"op": "teleport", "backend": "a"}]])
    def test_what_cannot_be_understood_is_refused_and_nothing_is_touched(self, tmp_path, changes):
        newer = self.line(min=FORMAT + 1) | ({"changes": changes} if changes else {})
        self.folder(tmp_path, newer, self.line(4))
        before = (tmp_path / "journal.jsonl").read_bytes()
        with journal(tmp_path) as store, pytest.raises(Refused, match=f"format {FORMAT + 1}.*--discard-newer"):
            store.load()
        assert (tmp_path / "journal.jsonl").read_bytes() == before

    def test_it_is_discarded_on_demand_with_a_copy(self, tmp_path, caplog):
        newer = self.line(min=FORMAT + 1)
        self.folder(tmp_path, newer, self.line(4))
        before = (tmp_path / "journal.jsonl").read_bytes()
        with journal(tmp_path) as store:
            store.discard_newer()
            snapshot = store.load()
            assert snapshot.seq == 4
            assert snapshot.overlays["ide"].state("b") == "drain", "what is older stays"
            store.append(entry(5, pinned(5)))
        (copy,) = tmp_path.glob("journal.jsonl.newer-*")
        assert copy.read_bytes() == before
        assert "has 1 lines of a newer version, which are discarded" in caplog.text
        with journal(tmp_path) as store:
            store.discard_newer()  # again, and there is nothing
            assert [each.seq for each in store.newest("ide", 9)[0]] == [1, 2, 4, 5]

    def test_a_snapshot_of_a_newer_version(self, tmp_path):
        with journal(tmp_path) as store:
            snapshot = grown(store, 20)
        path = tmp_path / "overlay.json"
        saved = json.loads(path.read_text())
        path.write_text(json.dumps(saved | {"format": FORMAT + 1, "more": 1}))
        with journal(tmp_path) as store:
            assert store.load() == snapshot
        path.write_text(json.dumps(saved | {"format": FORMAT + 1, "min": FORMAT + 1, "overlays": 3}))
        with journal(tmp_path) as store:
            with pytest.raises(Refused, match="--discard-newer"):
                store.load()
            store.discard_newer()
            assert store.load() == snapshot, "made again from the journal"
        assert len(list(tmp_path.glob("overlay.json.newer-*"))) == 1


class TestDisk:
    """Errors of the disk: refused or logged with the reason, and what was there stays."""

    @pytest.fixture
    def folder(self, tmp_path):
        with journal(tmp_path) as store:
            grown(store, 20)
        return tmp_path

    def failing(self, monkeypatch, where, call, number):
        def fail(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(where, call, fail)

    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (errno.EIO, "an input/output error"),
            (errno.ENOSPC, "the disk is full"),
            (errno.EDQUOT, "the disk quota is used up"),
        ],
    )
    @pytest.mark.parametrize("call", ["write", "fsync", "fstat"])
    def test_a_change_that_cannot_be_written(self, folder, monkeypatch, call, number, reason):
        with journal(folder) as store:
            store.load()
            before = (folder / "journal.jsonl").read_bytes()
            with monkeypatch.context() as patch:
                self.failing(patch, module.os, call, number)
                with pytest.raises(Refused, match=f"{reason}; nothing was changed"):
                    store.append(entry(21, pinned(1)))
            assert (folder / "journal.jsonl").read_bytes() == before
            assert store.newest("ide", 1)[1] == 15
            store.append(entry(21, pinned(1)))
            assert store.newest("ide", 1)[1] == 16

    @pytest.mark.parametrize("call", ["open", "write", "fsync"])
    def test_a_sum_that_cannot_be_written(self, folder, monkeypatch, caplog, call):
        with journal(folder) as store:
            snapshot = store.load()
            with monkeypatch.context() as patch:
                self.failing(patch, atomic.os, call, errno.EIO)
                store.save(snapshot.seq, snapshot.overlays, snapshot.configs)
            assert "the disk reports an input/output error; the journal still has every change" in caplog.text
            assert store.load() == snapshot

    def test_a_journal_that_cannot_be_read(self, folder, monkeypatch):
        with journal(folder) as store:
            with monkeypatch.context() as patch:
                self.failing(patch, lines.os, "pread", errno.EIO)
                for use in (store.load, lambda: store.newest("ide", 1), lambda: store.state_at("ide", START)):
                    with pytest.raises(Refused, match="the disk reports an input/output error"):
                        use()
            assert store.load().seq == 20

    def test_a_damaged_file_that_cannot_be_set_aside(self, folder, monkeypatch, caplog):
        (folder / "overlay.json").write_bytes(b"{")
        with journal(folder) as store, monkeypatch.context() as patch:
            self.failing(patch, Path, "rename", errno.EROFS)
            assert store.load().seq == 20
        assert re.search("it cannot be renamed: the file system is read-only", caplog.text)

    @pytest.mark.parametrize("file", ["journal.jsonl", "digest.key", "lock"])
    def test_a_file_that_cannot_be_opened_at_the_start(self, folder, monkeypatch, file):
        opening, reading = os.open, Path.read_bytes

        def refuse(path, *args, **kwargs):
            if Path(path).name == file:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return (opening if args else reading)(path, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(module.os, "open", refuse)
            patch.setattr(Path, "read_bytes", refuse)
            with pytest.raises(Refused, match="the disk reports an input/output error"):
                module.Journal(folder)
        with journal(folder) as store:
            assert store.load().seq == 20


@pytest.fixture(autouse=True)
def hear(caplog):
    caplog.set_level(logging.INFO)
