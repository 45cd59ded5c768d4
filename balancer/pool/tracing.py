"""Passes that let a client outside the trusted networks see why it was placed where it was.

An operator issues one for a while. It is a MAC over the time of its end, so nothing has to be stored.
"""

import hmac


class Passes:
    """Issues and checks passes. ``key`` is secret, and used for nothing else."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, until: int) -> str:
        """Return a pass that is valid until Unix time ``until``."""
        return f"{until:x}.{self._mac(until)}"

    def valid(self, value: bytes, now: float) -> bool:
        """Return whether this is one of our passes, and valid at ``now``."""
        end, _, mac = value.partition(b".")
        try:
            until = int(end, 16)
        except ValueError:
            return False
        return 0 < until < 1 << 40 and now < until and hmac.compare_digest(mac, self._mac(until).encode())

    def _mac(self, until: int) -> str:
        return hmac.digest(self._key, b"balancer trace %d" % until, "sha256").hex()[:32]
