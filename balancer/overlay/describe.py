"""Descriptions of overlay changes, as the journal, events and the log show them."""

from balancer.config.scalars import format_duration
from balancer.overlay.overlay import Add, Change, Pin, Remove, SetState, SetWeight, Steer, Unpin, pin_key


def describe(change: Change) -> str:
    """Return a short description of a change, such as ``weight of ide-01 2 over 30m``."""
    match change:
        case Pin():
            reason = f" ({change.reason})" if change.reason else ""
            return f"pin digest:{change.key} to {change.backend}{reason}"
        case Unpin():
            return f"unpin digest:{pin_key(change.digest, change.prefix)}"
        case SetState():
            return f"{change.backend} {change.state}"
        case SetWeight():
            over = f" over {format_duration(change.over)}" if change.over else ""
            return f"weight of {change.backend} {change.weight:g}{over}"
        case Steer():
            return f"{change.action} the weight of {change.backend}"
        case Add():
            return f"add {change.name} at {change.address}"
        case Remove():
            return f"remove {change.name}"
