"""The sockets of the admin API, and what their clients may do.

The Unix socket gives full control to everyone whom its file permissions admit. A TCP address gives full control to
holders of the token in ``token_file``; without one it is read-only and listens on loopback only (the configuration
makes sure of that). Another TCP address only says whether the daemon is healthy.
"""

import os
import socket
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from balancer.config.model import AdminConfig
from balancer.config.scalars import Address
from balancer.config.token_file import read_token
from balancer.errors import InUse, Refused
from balancer.ipc.supervision import Door
from balancer.net.bind import open_listener, refusal

MODE = 0o660
"""Permission of the Unix socket: its owner and its group."""
BACKLOG = 64


@dataclass(frozen=True)
class Access:
    """What the clients of a TCP address may do."""

    token: bytes | None = None
    """Token that they must present, except for metrics and health; None if they may only read."""
    health_only: bool = False
    """They may only ask for the daemon's health."""


@dataclass(eq=False)
class AdminListener:
    """A listening socket."""

    sock: socket.socket
    wanted: str
    """The address in the configuration."""
    name: str
    """The address it is bound to, written as in configurations."""
    access: Access = Access()
    next_access: Access = Access()
    """What becomes valid when the configuration that is being prepared is activated."""
    path: Path | None = None
    """The file of a Unix socket."""
    inode: int = 0

    @property
    def local(self) -> bool:
        """Whether it is a Unix socket."""
        return self.path is not None

    def close(self) -> None:
        """Close the socket and remove its file, unless the file belongs to another socket by now."""
        self.sock.close()
        if self.path is not None:
            with suppress(OSError):
                if self.path.stat().st_ino == self.inode:
                    self.path.unlink()


def open_listeners(admin: AdminConfig, present: Sequence[AdminListener] = ()) -> list[AdminListener]:
    """Open the sockets that the configuration asks for; of ``present`` ones, those it still asks for are kept.

    Raise ``Refused`` when one cannot be opened; then nothing has changed.
    """
    token = _read_token(admin.token_file) if admin.token_file is not None else None
    kept: dict[str, AdminListener | None] = {listener.wanted: listener for listener in present}
    listeners: dict[AdminListener, Access] = {}
    try:
        if admin.socket is not None:
            listeners[kept.pop(str(admin.socket), None) or _unix_listener(admin.socket)] = Access()
        if admin.listen is not None:
            listeners[kept.pop(str(admin.listen), None) or _tcp_listener("listen", admin.listen)] = Access(token)
        if (health := admin.health_listen) is not None:
            opened = kept.pop(str(health), None) or _tcp_listener("health_listen", health)
            listeners[opened] = Access(health_only=True)
    except BaseException:
        for listener in listeners:
            if listener not in present:
                listener.close()
        raise
    for listener, access in listeners.items():
        listener.next_access = access
    return list(listeners)


def adopted_listener(door: Door, fd: int) -> AdminListener:
    """Return a listener that another control process has opened."""
    path = Path(door.wanted) if door.inode else None
    return AdminListener(socket.socket(fileno=fd), door.wanted, door.name, path=path, inode=door.inode)


def who(sock: trio.socket.SocketType, author: str) -> str:
    """Return the author for the journal: the name a client gives, and what the system knows of it."""
    if sock.family == socket.AF_UNIX:
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        known = f"uid {uid}"
    else:
        known = str(sock.getpeername()[0])
    return f"{author} ({known})" if author else known


def _unix_listener(path: Path) -> AdminListener:
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o777 & ~MODE)
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
        return AdminListener(sock, str(path), f"unix:{path}", path=path, inode=path.stat().st_ino)
    except OSError as error:
        sock.close()
        raise Refused(f"admin.socket {path}: {error.strerror or error}; is its folder there and writable?") from None
    finally:
        os.umask(mask)


def _clear(path: Path) -> None:
    """Remove the socket file of a daemon that was killed; refuse if a running daemon owns it."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Refused(f"admin.socket {path} is a file, not a socket; move it away or name another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        with suppress(OSError):
            path.unlink()
        return
    except OSError as error:
        raise Refused(f"admin.socket {path}: {error.strerror or error}") from None
    raise InUse(f"admin.socket {path} is in use by another daemon; stop that one first, or give each its own")


def _tcp_listener(key: str, address: Address) -> AdminListener:
    try:
        sock = open_listener(address)
    except OSError as error:
        raise refusal(f"admin.{key} {address}", error) from None
    return AdminListener(sock, str(address), str(Address(*sock.getsockname()[:2])))


def _read_token(path: Path) -> bytes:
    try:
        return read_token(path)
    except ValueError as error:
        raise Refused(f"admin.token_file: {error}") from None
