"""Runs tests on mutants, each in a copy of the checkout, so that the files being worked on are never changed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.mutate.mutants import Mutant

PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider")
PASSED, FAILED, INTERRUPTED, INTERNAL_ERROR = range(4)


class MutationError(Exception):
    """No score can be had, for the reason given."""


class Copy:
    """A copy of the checkout, in which one mutant at a time is tested."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = folder / "tree"
        self._scratch = folder / "tmp"
        self._scratch.mkdir(parents=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            stdout=subprocess.PIPE,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (root / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, self.root / name)
        # By default Python recognises stale bytecode by time and size, which a mutant may share with its original.
        compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "balancer"]
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPATH": str(self.root),
            "TMPDIR": str(self._scratch),
            "CI": "true",  # hypothesis makes the same choices in every run
        }
        subprocess.run([sys.executable, *compile_all], cwd=self.root, env=self._environment, check=True)
        where = subprocess.check_output(
            [sys.executable, "-c", "import balancer; print(balancer.__file__)"],
            cwd=folder,
            env=self._environment,
            text=True,
        )
        if not Path(where).is_relative_to(self.root):
            raise MutationError(f"tests would import {where.strip()} instead of the copy in {self.root}")

    def baseline(self, tests: list[str]) -> float:
        """Return the seconds that the tests take without a mutant. Raise if they fail."""
        began = time.monotonic()
        code, output = self._pytest(tests, None)
        if code != PASSED:
            raise MutationError(f"tests fail without a mutant: {' '.join(tests)}\n{output}")
        return time.monotonic() - began

    def notices(self, mutant: Mutant, tests: list[str], timeout: float) -> bool:
        """Return whether the tests fail, or do not end within the timeout."""
        file = self.root / mutant.path
        original = file.read_bytes()
        file.write_text(mutant.text)
        try:
            code, output = self._pytest(tests, timeout)
        finally:
            file.write_bytes(original)
        if code not in (PASSED, FAILED, INTERRUPTED, INTERNAL_ERROR, None):
            raise MutationError(f"pytest could not run {' '.join(tests)}\n{output}")
        return code != PASSED

    def _pytest(self, tests: list[str], timeout: float | None) -> tuple[int | None, str]:
        """Run tests in a session of their own. The exit code is None if they did not end in time."""
        command = [*PYTEST, f"--basetemp={self._scratch}/pytest", *tests]
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with whatever the tests have left behind
            process.wait()
        return process.returncode, output
