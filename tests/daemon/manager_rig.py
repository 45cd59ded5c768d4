"""The test as service manager: it starts the real command with descriptors and variables, and hears its notices."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess

from harness import ACCEPTS, COMMAND, Output, toml
from wire import PATIENCE, Peer, end_with_parent


class Unit:
    """A service of the manager; a context manager that ends what still runs.

    ``handed`` are the descriptors it starts with, meant for process ``owner`` or its own; in ``variables``, SELF is its
    process id; ``prepare`` is called in the child before the command.
    """

    def __init__(self, folder, *, handed=(), owner=None, notify=None, variables=(), prepare=None, **config):
        self._file = folder / "balancer.toml"
        self._file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in config.items()))
        self._handed = [each.fileno() for each in handed]
        self._owner = owner
        self._variables = dict(variables)
        self._prepare = prepare
        self.notices = None
        if notify is not None:
            self._variables["NOTIFY_SOCKET"] = notify
            self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.notices.bind("\0" + notify[1:] if notify.startswith("@") else notify)
            self.notices.settimeout(PATIENCE)

    def __enter__(self):
        reading, writing = os.pipe()
        target = os.fstat(writing)
        self._variables.setdefault("JOURNAL_STREAM", f"{target.st_dev}:{target.st_ino}")
        self.process = subprocess.Popen(
            [*COMMAND, str(self._file)],
            stdout=subprocess.DEVNULL,
            stderr=writing,
            close_fds=False,
            preexec_fn=self._become,
        )
        os.close(writing)
        self.stderr = Output(os.fdopen(reading))
        return self

    def _become(self):
        """In the child: descriptors from 3 on, and variables that name its process, as sd_listen_fds(3) has them."""
        end_with_parent()
        if self._prepare is not None:
            self._prepare()
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in self._handed]
        for number, fd in enumerate(copies, 3):
            os.dup2(fd, number)
        if copies:
            names = ":".join(f"unit-{n}" for n in range(len(copies)))
            pid = str(self._owner or os.getpid())
            os.environ.update(LISTEN_PID=pid, LISTEN_FDS=str(len(copies)), LISTEN_FDNAMES=names)
        os.environ.update({name: value.replace("SELF", str(os.getpid())) for name, value in self._variables.items()})

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.stderr.join()
        if self.notices is not None:
            self.notices.close()

    def notice(self, wanted):
        """The next notice that has the line ``wanted``, and its variables."""
        while True:
            words = self.notices.recv(4096).decode().split("\n")
            if wanted in words:
                return dict(word.split("=", 1) for word in words)

    def silent(self):
        """Is there no notice that has not been heard?"""
        return not select.select([self.notices], [], [], 0)[0]

    def accepts(self, count=1):
        """Once it does, on so many sockets: their addresses."""
        self.stderr.wait_for(lambda _: len(ACCEPTS.findall(str(self.stderr))) == count)
        return [address for _, address in ACCEPTS.findall(str(self.stderr))]

    def failed(self):
        """What it said before it ended with 1."""
        assert self.process.wait(PATIENCE) == 1
        self.stderr.join()
        return str(self.stderr)

    def ended(self):
        """Has it ended well?"""
        code = self.process.wait(PATIENCE)
        self.stderr.join()
        return code == 0 and "Traceback" not in str(self.stderr)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.ended()


def connect(address):
    """A client of a listener, whose address is that of the log."""
    host, _, port = address.rpartition(":")
    return Peer(socket.create_connection((host.strip("[]"), int(port)), PATIENCE))


@contextlib.contextmanager
def listening(host="127.0.0.1", **options):
    """A socket as the manager opens them, blocking and without any option of ours; and its address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, **options) as sock:
        port = sock.getsockname()[1]
        yield sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
