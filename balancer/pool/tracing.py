"""Passes that let a client outside the trusted networks see why it was placed where it was.

An operator issues one for a while. It is a MAC over the time of its end, so nothing has to be stored.
"""

import hmac


class Passes:
    """Issues passes with the first of ``keys``, and believes those of all. Keys are used for nothing else."""

    def __init__(self, *keys: bytes) -> None:
        self._keys = keys

    def issue(self, until: int) -> str:
        """Return a pass that is valid until Unix time ``until``."""
        return f"{until:x}.{_mac(self._keys[0], until)}"

    def valid(self, value: bytes, now: float) -> bool:
        """Return whether this is one of our passes, and valid at ``now``."""
        end, _, mac = value.partition(b".")
        try:
            until = int(end, 16)
        except ValueError:
            return False
        if not (0 < until < 1 << 40 and now < until):
            return False
        return any(hmac.compare_digest(mac, _mac(key, until).encode()) for key in self._keys)


def _mac(key: bytes, until: int) -> str:
    return hmac.digest(key, b"balancer trace %d" % until, "sha256").hex()[:32]
