"""The chaos runs use the real command as the end-to-end tests do."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
