"""Why lines of the access log are lost."""

from typing import Literal

Loss = Literal["disk_full", "slow", "failed"]
"""Its disk is full, its target does not keep up, or writing fails in another way."""
