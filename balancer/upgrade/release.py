"""Releases: installations of the balancer side by side, each a virtual environment.

They lie in one folder, ``[upgrade] releases``, by name, and the link ``current`` there says which one is meant when
none is named. To install another one, or to move the link, changes nothing in a daemon that runs: it resolves its own
release at its start, and starts all of its processes from there.

Whoever can write to a release runs code as the daemon. So no file in it, and none of the folders that lead to it, may
belong to anybody but root or the owner of the running release, nor be writable for others.
"""

import faulthandler
import os
import re
import stat
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from balancer.errors import Refused

CURRENT = "current"
"""The link in the folder of releases."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Release:
    """A release: the folder of its virtual environment, and its interpreter."""

    folder: str
    python: str
    isolated: bool = True
    """Its processes look for code in the release alone, whatever the environment and the present folder say."""

    def command(self, *words: str) -> list[str]:
        """Return the command that runs the interpreter; options that the environment could set are passed on."""
        options = ["-I"] if self.isolated else []
        if self.isolated and faulthandler.is_enabled():
            options += ["-X", "faulthandler"]
        return [self.python, *options, *words]


def running() -> Release:
    """Return the release that this process runs from, whatever ``current`` leads to by now."""
    folder = os.path.realpath(sys.prefix)
    python = os.path.relpath(sys.executable, sys.prefix)
    outside = python.startswith(os.pardir)
    return Release(folder, sys.executable if outside else os.path.join(folder, python), bool(sys.flags.isolated))


def release_at(folder: str) -> Release:
    """Return the release in a folder."""
    return Release(folder, os.path.join(folder, "bin", "python"))


def find_release(wanted: str | None, releases: Path, mine: str, *, any_path: bool) -> Release:
    """Return the release that an operator means: a name, a path where ``any_path`` allows one, or the current one.

    ``mine`` is the folder of the running release, which is meant where there is no current one. Raise ``Refused`` for
    one that is not there, or that others could have written.
    """
    if wanted is None:
        link = releases / CURRENT
        path = link if link.exists() else Path(mine)
    elif _NAME.fullmatch(wanted):
        path = releases / wanted
    elif any_path and wanted.startswith("/"):
        path = Path(wanted)
    elif any_path:
        raise Refused(f"{wanted} is neither the name of a release in {releases} nor an absolute path")
    else:
        raise Refused(f"a release is named as in {releases}; a path is for the Unix socket only")
    if not (path / "bin" / "python").exists():
        known = ", ".join(_names(releases))
        raise Refused(f"{path} is no release: it has no bin/python" + (f"; there are {known}" if known else ""))
    found = os.path.realpath(path)
    refuse_foreign(found, {0, os.stat(mine).st_uid})
    return release_at(found)


def refuse_foreign(folder: str, owners: Set[int]) -> None:
    """Raise ``Refused`` if anybody but ``owners`` could change what is in ``folder``, or put another in its place."""
    python = os.path.realpath(os.path.join(folder, "bin", "python"))
    above = {str(parent): None for each in (folder, python) for parent in Path(each).parents}
    try:
        for path in (*above, folder, python, *_inside(folder)):
            found = os.lstat(path)
            if found.st_uid not in owners:
                raise Refused(
                    f"{path} belongs to uid {found.st_uid}: it has to belong to root or to the daemon's owner"
                )
            sticky = path in above and found.st_mode & stat.S_ISVTX  # nobody can replace there what is not theirs
            if found.st_mode & _OTHERS and not stat.S_ISLNK(found.st_mode) and not sticky:
                raise Refused(f"{path} may be written by others: chmod -R go-w {path}")
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from None


def _inside(folder: str) -> Iterator[str]:
    for inside, folders, files in os.walk(folder, onerror=_fail):
        yield from (os.path.join(inside, name) for name in (*folders, *files))


def _fail(error: OSError) -> None:
    raise error


def _names(releases: Path) -> list[str]:
    try:
        return sorted(path.name for path in releases.iterdir() if (path / "bin" / "python").exists())
    except OSError:
        return []
