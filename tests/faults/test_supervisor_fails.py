"""A fault of the supervisor itself: its last line says why the daemon ended."""

import subprocess
import sys

PROGRAM = """
import sys, trio
from pathlib import Path
from balancer.daemon import main, supervisor

async def obey(self, signals):
    raise ValueError("two\\nlines")

supervisor.Supervisor._obey = obey
sys.exit(main.run(Path(sys.argv[1])))
"""


def test_its_last_line_says_why(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "balancer.toml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "the daemon has ended: ValueError: two lines in the supervisor, see above"
    )
