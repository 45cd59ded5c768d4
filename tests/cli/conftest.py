"""The verbs of a running daemon are tested on that of the admin tests."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("control", "e2e", "daemon")]

from admin_rig import authority, daemon, hosts, nothing_crashes, tunnels  # noqa: F401
