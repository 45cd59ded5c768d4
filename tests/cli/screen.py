"""A terminal with a program in it: the test types, and looks at the screen."""

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

from wire import PATIENCE, end_with_parent

ESCAPE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Screen:
    """``lines`` is what is seen, ``raw`` all that was written. Knows only what the command may write."""

    def __init__(self, *args, columns=100, rows=24, **environ):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        variables = {**os.environ, "TERM": "vt100", **environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "balancer", *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=variables,
            start_new_session=True,
            preexec_fn=self._own,
        )
        self.former = termios.tcgetattr(slave)
        self.slave = slave
        self.raw = ""
        self.other = False
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("ascii")()
        self._at = (0, 0)

    @staticmethod
    def _own():
        end_with_parent()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines = [""] * rows
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys.encode())

    def wait_for(self, pattern):
        """The match on the screen, once it is there."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text, re.MULTILINE)):
            assert self._read(deadline - time.monotonic()), f"no {pattern!r} on:\n{self.text}"
        return found

    def settle(self, seconds=0.0):
        """Take what has been written; how many bytes that was."""
        before = len(self.raw)
        while self._read(seconds):
            pass
        return len(self.raw) - before

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.lines)

    def ended(self):
        """Its exit code; the terminal must be as it was."""
        code = self.process.wait(PATIENCE)
        self.settle()
        assert not self.other
        assert termios.tcgetattr(self.slave) == self.former
        return code

    def _read(self, seconds):
        if not select.select([self.master], [], [], max(0.0, seconds))[0]:
            return False
        data = self._decoder.decode(os.read(self.master, 65536))
        self.raw += data
        self._take(self._rest + data)
        return True

    def _take(self, data):
        while data:
            row, column = self._at
            if data[0] == "\x1b":
                match = ESCAPE.match(data)
                if match is None:
                    break  # the rest is on its way
                self._do(*match.groups())
                data = data[match.end() :]
                continue
            if data[0] in "\r\n":
                self._at = (row, 0) if data[0] == "\r" else (row + 1, column)
            elif row < self.rows and column < self.columns:
                line = self.lines[row].ljust(column)
                self.lines[row] = line[:column] + data[0] + line[column + 1 :]
                self._at = row, column + 1
            data = data[1:]
        self._rest = data

    def _do(self, private, numbers, verb):
        row, column = self._at
        match private + verb:
            case "H":
                row, column = (int(each) - 1 for each in numbers.split(";"))
                self._at = row, column
            case "K":
                self.lines[row] = self.lines[row][:column]
            case "J":
                assert numbers == "2"
                self.lines = [""] * self.rows
            case "m":
                assert numbers in ("0", "1", "2", "7", "31", "32", "33")
            case "?h" | "?l":
                assert numbers in ("1049", "25", "7")
                if numbers == "1049":
                    self.other = verb == "h"
            case _:
                raise AssertionError(f"what is {private}{numbers}{verb}?")
