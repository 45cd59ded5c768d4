"""Other balancers, the real ones, listening on Unix sockets."""

import shutil
import socket
import subprocess
import time

import pytest
from wire import PATIENCE, Peer, end_with_parent


class Other:
    """Another balancer, listening on Unix sockets in a folder of its own."""

    def __init__(self, folder, command, config):
        """Its sockets are in ``folder``; the ``command`` gets the path of the ``config``. Skips what is not there."""
        if not shutil.which(command[0]):
            pytest.skip(f"{command[0]} is not installed")
        self._folder = folder
        file = folder / "conf"
        file.write_text(config)
        self._process = subprocess.Popen(
            [*command, str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=end_with_parent,
        )

    def connect(self, name):
        sock = socket.socket(socket.AF_UNIX)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                sock.connect(str(self._folder / name))
                return Peer(sock)
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    sock.close()
                    raise AssertionError(self._process.communicate()[1].decode()) from None
                time.sleep(0.01)

    def close(self):
        self._process.terminate()
        self._process.communicate()
