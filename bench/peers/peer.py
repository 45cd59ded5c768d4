"""What the benchmark knows of a proxy."""

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
    """What differs between the proxies of one scenario and those of another."""

    workers: int = 1
    """Processes, or threads, that carry traffic."""
    backends: int = 3
    interval: int = 2
    """Seconds between two health checks of a backend."""
    access_log: bool = False


@dataclass(frozen=True)
class Site:
    """Where one proxy stands."""

    folder: Path
    """Its own, for configuration and whatever it writes."""
    plain: int
    tls: int
    admin: int
    """Ports of 127.0.0.1; ``admin`` is that of its metrics."""
    backends: list[int]
    certificate: Path
    key: Path
    setup: Setup

    @property
    def socket(self) -> Path:
        """The Unix socket for operators, if it has one."""
        return self.folder / "admin.sock"

    @property
    def access_log(self) -> Path:
        """The file of the access log, if it is written."""
        return self.folder / "access.log"


ORDINARY = Setup()

Event = Callable[[Site, int, int], None]
"""Something that operators do to a running proxy, done when this returns or soon after.

Takes where it stands, the process it was started as, and which time it is, so that each time changes something.
Raises ``OSError``, ``HTTPException`` or ``BenchError``.
"""


@dataclass(frozen=True)
class Peer:
    """A proxy, and the program to run."""

    name: str
    program: str
    """As a shell would find it; scripts of this Python's environment come first."""
    version_arguments: list[str]
    version_pattern: str
    """What its answer to them says, with the version in a group."""
    command: Callable[[str, Site], list[str]]
    """Write the configuration; from the path of the program, the command that runs it in the foreground."""
    events: Mapping[str, Event] = field(default_factory=dict)
    """What can be done to it, by the names that scenarios have for it."""

    def path(self) -> str | None:
        """Where the program is, or None if it is not installed."""
        return shutil.which(self.program, path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))

    def version(self) -> str | None:
        """The version it names, or None if it is not installed. Raises ``BenchError`` if the program is no good."""
        path = self.path()
        if path is None:
            return None
        said = subprocess.run([path, *self.version_arguments], capture_output=True, text=True)
        if said.returncode:
            words = (said.stderr or said.stdout).strip().rpartition("\n")[2]
            raise BenchError(f"{self.name}: {path} {' '.join(self.version_arguments)} failed: {words}")
        found = re.search(self.version_pattern, said.stdout + said.stderr)
        return found[1].strip() if found else "unknown"

    def start(self, site: Site) -> list[str]:
        """Write the configuration; the command that runs the proxy."""
        path = self.path()
        assert path is not None, f"{self.name} is not installed"
        return self.command(path, site)
