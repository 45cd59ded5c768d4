"""The admin tests run the daemon of the end-to-end tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from admin_rig import authority, daemon, hosts, nothing_crashes, tunnels  # noqa: F401
