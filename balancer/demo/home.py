"""A user's home directory on one host: small text files on that host's disk.

They are files on disk, so that they survive a restart of the host, as they would on a real IDE host.
"""

import re
from pathlib import Path

MAX_HOMES = 256
MAX_FILES = 32
MAX_TEXT = 4096

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


class HomeError(Exception):
    """A file cannot be read or written; the message is for the user."""


class Home:
    """The files of one user. The directory is created with the first one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        return sorted(path.name for path in self._directory.iterdir()) if self._directory.is_dir() else []

    def read(self, name: str) -> str:
        try:
            return self._path(name).read_bytes().decode()
        except FileNotFoundError:
            raise HomeError(f"{name}: no such file here") from None

    def write(self, name: str, text: str) -> None:
        path = self._path(name)
        if len(text) > MAX_TEXT:
            raise HomeError(f"{name}: a file may have at most {MAX_TEXT} characters")
        if not path.exists() and len(self.names()) >= MAX_FILES:
            raise HomeError(f"{name}: there are {MAX_FILES} files already; remove one with: rm NAME")
        if not self._directory.exists():
            if sum(1 for _ in self._directory.parent.iterdir()) >= MAX_HOMES:
                raise HomeError(f"{name}: no space left on this host")
            self._directory.mkdir(mode=0o700)
        path.write_bytes(text.encode())

    def remove(self, name: str) -> None:
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise HomeError(f"{name}: no such file here") from None

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise HomeError("a file name has up to 48 letters, digits, dots, dashes and underscores")
        return self._directory / name
