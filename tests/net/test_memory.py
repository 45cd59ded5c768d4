"""How much memory there is: the machine's, or what a control group leaves of it."""

import os
import subprocess
import sys

import pytest

from balancer.config.scalars import Memory
from balancer.net.memory import ceiling

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
ALL = Memory(share=1.0)


@pytest.fixture
def system(tmp_path):
    """Writes files of /proc and /sys, and gives their root."""

    def write(**files):
        for name, text in files.items():
            file = tmp_path / name.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


def test_an_amount_is_taken_as_it_is():
    assert ceiling(Memory(bytes=1 << 30)) == 1 << 30
    assert ceiling(Memory()) == 0


def test_a_machine_without_groups(system):
    assert ceiling(Memory(share=0.5), system()) == MACHINE // 2


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        ({"a/b": "1000000", "a": "max"}, 1_000_000),
        ({"a/b": "max", "a": "2000000"}, 2_000_000),
        ({"a/b": "3000000", "a": "2000000"}, 2_000_000),
        ({"": "4000000"}, 4_000_000),
        ({"a/b": "max"}, MACHINE),
        ({"a/b": f"{MACHINE * 2}"}, MACHINE),
    ],
)
def test_the_least_limit_of_all_groups_above_counts(system, limits, least):
    root = system(proc__self__cgroup="0::/a/b\n")
    for group, limit in limits.items():
        folder = root / "sys/fs/cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
    assert ceiling(ALL, root) == least


def test_groups_of_version_1(system):
    root = system(proc__self__cgroup="5:cpu,memory:/a\n2:pids:/b\n0::/\n")
    for folder, limit in (("memory/a", 500_000), ("a", 400_000), ("b", 300_000)):
        path = root / "sys/fs/cgroup" / folder
        path.mkdir(parents=True)
        (path / "memory.limit_in_bytes").write_text(f"{limit}\n")
    assert ceiling(ALL, root) == 500_000


def test_what_a_process_holds_grows_with_it():
    # In a process of its own: the one that runs the tests may reuse what it holds.
    program = """
from balancer.net.memory import resident
before = resident()
block = b"x" * (64 << 20)
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 60 << 20
