"""The interface of the benchmarked proxies."""

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.process import BenchError


@dataclass(frozen=True)
class Setup:
    """The settings of proxies that differ between scenarios."""

    workers: int = 1
    """Worker processes or threads."""
    backends: int = 3
    interval: int = 2
    """Seconds between two health checks of a backend."""
    access_log: bool = False
    remember: bool = False
    """Whether users are remembered in cookies."""


@dataclass(frozen=True)
class Site:
    """The files and ports of one proxy."""

    folder: Path
    """Its directory, for its configuration and other files."""
    plain: int
    tls: int
    admin: int
    """Ports of 127.0.0.1; ``admin`` serves metrics."""
    backends: list[int]
    certificate: Path
    key: Path
    setup: Setup

    @property
    def socket(self) -> Path:
        """Path of its Unix socket for operators, if it has one."""
        return self.folder / "admin.sock"

    @property
    def access_log(self) -> Path:
        """Path of its access log, if it writes one."""
        return self.folder / "access.log"


ORDINARY = Setup()

Event = Callable[[Site, int, int], None]
"""An action of operators on a running proxy, which takes effect when this returns or soon after.

Takes the site, the process id, and the number of the call, so that each call can change something.
Raises ``OSError``, ``HTTPException`` or ``BenchError``.
"""


@dataclass(frozen=True)
class Peer:
    """A proxy: its program, and how to configure, start and operate it."""

    name: str
    program: str
    """Name or path; names are searched in the scripts of this Python's environment, then in PATH."""
    version_arguments: list[str]
    version_pattern: str
    """Matches the output for ``version_arguments``, with the version in a group."""
    command: Callable[[str, Site], list[str]]
    """Writes the configuration, and returns the command that runs the program at a path in the foreground."""
    events: Mapping[str, Event] = field(default_factory=dict)
    """The supported events, by the names that scenarios use."""
    remembers: bool = False
    """Whether it can remember users in the cookies of ``bench.messages``."""

    def path(self) -> str | None:
        """Return the path of the program, or None if it is not installed."""
        return shutil.which(self.program, path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))

    def version(self) -> str | None:
        """Return the version, or None if it is not installed. Raises ``BenchError`` if the program fails."""
        path = self.path()
        if path is None:
            return None
        done = subprocess.run([path, *self.version_arguments], capture_output=True, text=True)
        if done.returncode:
            message = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise BenchError(f"{self.name}: {path} {' '.join(self.version_arguments)} failed: {message}")
        found = re.search(self.version_pattern, done.stdout + done.stderr)
        return found[1].strip() if found else "unknown"

    def start(self, site: Site) -> list[str]:
        """Write the configuration and return the command that runs the proxy, which must be installed."""
        path = self.path()
        assert path is not None, f"{self.name} is not installed"
        return self.command(path, site)
