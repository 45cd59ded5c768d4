"""How much memory there is, and how much of it this process holds.

``/proc/self/statm`` (proc(5)) counts resident pages, and among them those of files and shared memory, which several
processes share; what is left is ours alone, so the workers' numbers can be added up. The limit is that of the control
group, or of one above it, if there is one (``memory.max``, the kernel's cgroup-v2.rst; ``memory.limit_in_bytes`` in
version 1), else the memory of the machine.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from balancer.config.scalars import Memory

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return the bytes of memory that this process alone holds."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE


def ceiling(memory: Memory, root: Path = Path("/")) -> int:
    """Return the limit ``memory`` in bytes; 0 is no limit. ``root`` is the folder of /proc and /sys."""
    return memory.bytes or int(memory.share * _available(root))


def _available(root: Path) -> int:
    limits = [os.sysconf("SC_PHYS_PAGES") * _PAGE]
    with suppress(OSError):  # no control groups here
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                limits += _limits(root / "sys/fs/cgroup", path, "memory.max")
            elif "memory" in controllers.split(","):
                limits += _limits(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return min(limits)


def _limits(mount: Path, path: str, name: str) -> list[int]:
    """Return the limits of a group and of all above it; in a container, only the mount itself may exist."""
    found = []
    group = mount / path.lstrip("/")
    for each in (group, *group.parents):
        with suppress(OSError):
            text = (each / name).read_text().strip()
            if text.isdecimal():
                found.append(int(text))
        if each == mount:
            break
    return found


def available() -> int:
    """Return the bytes of memory that are free, or could be freed, as far as the kernel tells (proc(5))."""
    with suppress(OSError):  # ProcSubset=pid of systemd.exec(5) hides it
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return sys.maxsize
