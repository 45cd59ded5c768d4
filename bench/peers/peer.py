"""What the benchmark knows of a proxy."""

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Site:
    """Where one proxy stands."""

    folder: Path
    """Its own, for configuration and whatever it writes."""
    plain: int
    tls: int
    """Ports of 127.0.0.1."""
    backends: list[int]
    certificate: Path
    key: Path


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

    def path(self) -> str | None:
        """Where the program is, or None if it is not installed."""
        return shutil.which(self.program, path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))

    def version(self) -> str | None:
        """The version it names, or None if it is not installed."""
        path = self.path()
        if path is None:
            return None
        said = subprocess.run([path, *self.version_arguments], capture_output=True, text=True, check=True)
        found = re.search(self.version_pattern, said.stdout + said.stderr)
        return found[1].strip() if found else "unknown"

    def start(self, site: Site) -> list[str]:
        """Write the configuration; the command that runs the proxy."""
        path = self.path()
        assert path is not None, f"{self.name} is not installed"
        return self.command(path, site)
