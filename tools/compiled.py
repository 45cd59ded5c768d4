"""Run the default tests on the compiled data plane: ``python -m tools.compiled [ARGUMENT ...]``, arguments of pytest.

The tree is copied to a temporary folder, built there in place with mypyc, and tested there; the tree itself stays pure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
_TESTS_FAILED = 1
"""pytest's exit code."""
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "*.so", "__pycache__", ".*_cache", ".hypothesis")


def main(arguments: list[str]) -> int:
    """Return the exit code of the build if it fails, else that of pytest."""
    with tempfile.TemporaryDirectory(prefix="balancer-compiled-") as name:
        copy = Path(name) / "balancer"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        environment = {**os.environ, "BALANCER_COMPILE": "1", "PYTHONPATH": str(copy)}
        build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        done = subprocess.run(build, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
            return done.returncode
        environment["BALANCER_BUILD"] = "compiled"
        test = [sys.executable, "-m", "pytest", *arguments]
        code = subprocess.run(test, cwd=copy, env=environment, check=False).returncode
        if code == _TESTS_FAILED:  # the compiler's faults repeat, and only those are looked for here
            print("what failed is run once more, by itself", file=sys.stderr)
            code = subprocess.run(
                [*test, "--last-failed", "-n", "0"], cwd=copy, env=environment, check=False
            ).returncode
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
