"""The browser of the demo's tests, and the daemon of the end-to-end tests."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("demo", "e2e")]
