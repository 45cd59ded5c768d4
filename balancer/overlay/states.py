"""The states that operators give to backends."""

from typing import Literal

State = Literal["ready", "drain", "maint"]
"""Takes new users; only those who are there; nobody."""
