"""`balancer demo` as a person at a terminal uses it."""

import contextlib
import os
import re
import select
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from pathlib import Path

from hosts import Terminal, free_address

COMMAND = [sys.executable, "-m", "balancer", "demo", "--port"]
PATIENCE = 60.0


class DemoProcess:
    """The command, up and ready. A context manager that ends it, if need be by force."""

    def __init__(self, port=None, terminal=True):
        self.port = port or free_address()[1]
        self._keyboard, screen = os.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, str(self.port)],
            stdin=screen if terminal else subprocess.DEVNULL,
            stdout=screen if terminal else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TERM": "dumb"},
        )
        os.close(screen)
        self._output = self._keyboard if terminal else self.process.stdout.fileno()
        self._watchdog = threading.Timer(PATIENCE, self.process.kill)
        self._watchdog.start()
        self.text = ""
        self.welcome = self.read_until("demo> " if terminal else "Ctrl-C ends everything.")
        found = re.findall(r"^  (\w+) +on (\S+) +(https://\S+)$", self.welcome, re.MULTILINE)
        self.places = {name: host for name, host, _ in found}
        self.urls = {name: url for name, _, url in found}
        self.cert = Path(re.search(r"--cacert (\S+)", self.welcome)[1])
        self.descendants = [os.pidfd_open(pid) for pid in descendants(self.process.pid)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._watchdog.cancel()
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self.cert.parent, ignore_errors=True)  # one that was killed leaves it
        for descriptor in [self._keyboard, *self.descendants]:
            os.close(descriptor)

    def read_until(self, end):
        """What it prints up to and including ``end``."""
        while end not in self.text:
            data = self._read()
            assert data, f"it ended, having printed {self.text}"
            self.text += data
        text, _, self.text = self.text.partition(end)
        return text + end

    def _read(self):
        try:
            return os.read(self._output, 65536).decode().replace("\r\n", "\n")
        except OSError:  # EIO: nobody has the terminal any more
            return ""

    def press(self, keys):
        os.write(self._keyboard, keys.encode())

    def type(self, line, answer):
        """What it prints after ``line``, up to the next prompt; ``answer`` is somewhere in it."""
        self.press(line + "\n")
        return self.read_until(answer) + self.read_until("demo> ")

    def open(self, user):
        """A tab of that user, through the balancer, its certificate verified."""
        context = ssl.create_default_context(cafile=str(self.cert))
        return Terminal(self.urls[user].replace("https", "wss").replace("/?", "/ws?"), ssl=context)

    def end(self, number):
        """Send a signal; the exit code and what is printed last."""
        self.process.send_signal(number)
        while data := self._read():
            self.text += data
        return self.process.wait(), self.text

    def descendants_have_ended(self):
        """Wait for every process below it."""
        left = set(self.descendants)
        while left:
            ended, _, _ = select.select(left, [], [], PATIENCE)
            left -= set(ended)
            if not ended:
                return False
        return True


def descendants(pid):
    """Processes below ``pid``, at this moment."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def kill_part(demo, *words):
    """Kill the process among the demo's that has these words on its command line."""
    [pid] = [pid for pid in descendants(demo.process.pid) if {*words} <= {*command_of(pid)}]
    os.kill(pid, signal.SIGKILL)
