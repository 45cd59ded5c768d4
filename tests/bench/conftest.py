"""The benchmarks are no part of what is installed: tests find them in the work tree."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
