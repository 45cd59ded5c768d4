"""Times as people read them."""

from datetime import datetime


def format_time(stamp: float) -> str:
    """Format a Unix time in the local time zone."""
    return datetime.fromtimestamp(stamp).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
