"""Files that root can read and the daemon cannot, for root, who checks a file for a service that has its own user.

Who may read the configuration is taken as the service: its owner, or its group if root owns it. Files that belong to
root alone say nothing. Access control lists are not looked at, so these are warnings.
"""

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from balancer.config.finding import Finding, Key
from balancer.config.model import Config
from balancer.config.scalars import shown
from balancer.config.section import Section

_READ = ("cert", "key", "ca_file", "token_file", "key_file")
"""Keys of files that the daemon reads."""


def unreadable(path: Path, config: Config) -> Iterator[Finding]:
    """Yield a warning for each file named by the configuration at ``path`` that its readers cannot read."""
    with suppress(OSError):
        about = path.stat()
        if os.geteuid() or not (about.st_uid or about.st_gid):
            return
        who = _user(about.st_uid) if about.st_uid else _group(about.st_gid)
        for key, file in _files((), config):
            if not _open_to(file, about):
                message = (
                    f"{shown(str(file), limit=4096)} can be read by root, and not by {who}, who can read this file"
                )
                yield Finding(key, f"{message}: change its owner, group or mode, or those of its folder", warning=True)


def _files(at: Key, section: Section) -> Iterator[tuple[Key, Path]]:
    for key, name in section.fields_by_key().items():
        value = getattr(section, name)
        if isinstance(value, Path) and key in _READ:
            yield (*at, key), value
        elif isinstance(value, Section):
            yield from _files((*at, key), value)
        elif isinstance(value, tuple):
            for index, each in enumerate(value):
                if isinstance(each, Section):
                    yield from _files((*at, key, index), each)


def _open_to(file: Path, reader: os.stat_result) -> bool:
    """Return whether the owner, or the group, of another file can read this one and enter its folders."""
    path = file.absolute()
    return all(_allows(each, reader, 0o4 if each == path else 0o1) for each in (path, *path.parents))


def _allows(path: Path, reader: os.stat_result, bit: int) -> bool:
    try:
        about = path.stat()
    except OSError:  # another message says so
        return True
    if reader.st_uid and about.st_uid == reader.st_uid:
        return bool(about.st_mode & bit << 6)
    member = reader.st_gid != 0 and about.st_gid == reader.st_gid  # a service is not in the group of root
    return bool(about.st_mode & (bit << 3 if member else bit))


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return f"user {number}"


def _group(number: int) -> str:
    with suppress(KeyError):
        return f"group {grp.getgrgid(number).gr_name}"
    return f"group {number}"
