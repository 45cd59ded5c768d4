"""The stateful tests run the daemon of the end-to-end and of the admin tests."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / package) for package in ("e2e", "control")]
