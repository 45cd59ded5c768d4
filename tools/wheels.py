"""Build a wheel with the compiled data plane for each Python: ``python -m tools.wheels [--into FOLDER] [PYTHON ...]``.

Without names, for those of Python 3.11 to 3.14 that can be started. They are built in a copy of the tree, with pip in a
new environment for each, and land in ``dist``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.compiled import LEFT_OUT, ROOT

PYTHONS = tuple(f"python3.{minor}" for minor in range(11, 15))


def main(arguments: list[str]) -> int:
    """Return 1 if a wheel could not be built, or there is no Python to build one for."""
    parser = argparse.ArgumentParser(prog="python -m tools wheels", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--into", type=Path, default=ROOT / "dist", metavar="FOLDER", help="where they land (dist)")
    parser.add_argument("python", nargs="*", help="name or path of an interpreter (python3.11 to python3.14)")
    options = parser.parse_args(arguments)
    pythons = options.python or [name for name in PYTHONS if _starts(name)]
    if not pythons:
        print(f"none of {', '.join(PYTHONS)} can be started", file=sys.stderr)
        return 1
    return max(_build(python, options.into.absolute()) for python in pythons)


def _starts(python: str) -> bool:
    """Return whether this interpreter is there; a launcher may be there without it."""
    return bool(shutil.which(python)) and subprocess.run([python, "-V"], capture_output=True).returncode == 0


def _build(python: str, into: Path) -> int:
    """Build one wheel; return 1 if that fails."""
    with tempfile.TemporaryDirectory(prefix="balancer-wheel-") as name:
        copy, environment = Path(name) / "balancer", Path(name) / "environment"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(into), str(copy)]
        for command in ([python, "-m", "venv", str(environment)], pip):
            try:
                done = subprocess.run(
                    command, env={**os.environ, "BALANCER_COMPILE": "1"}, capture_output=True, text=True, check=False
                )
            except OSError as error:
                print(f"{python}: {error.strerror}", file=sys.stderr)
                return 1
            if done.returncode:
                print(f"{python}: no wheel\n{done.stdout}{done.stderr}", file=sys.stderr)
                return 1
    print(f"{python}: a wheel in {into}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
