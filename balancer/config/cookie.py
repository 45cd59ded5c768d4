"""The form of the cookie in which a browser keeps the token of its user for us, and what fits into one."""

from typing import Literal

SECURE_PREFIX = "__Host-"
"""Browsers take such a cookie only over TLS, from the host itself and for the whole of it (RFC 6265bis, 4.1.3.2)."""
MAX_COOKIE = 4000
"""Bytes of the longest cookie, name and attributes included; browsers keep 4096 (RFC 6265, 6.1)."""
SEALED = 1 + 12 + 8 + 16
"""Bytes of a sealed token beside the token itself: version, nonce, time, tag."""

SameSite = Literal["lax", "none"]


def cookie_name(name: str, *, secure: bool) -> bytes:
    """Return the name of the cookie behind TLS, or without."""
    return (SECURE_PREFIX + name if secure else name).encode()


def attributes(same_site: SameSite, *, secure: bool) -> bytes:
    """Return what follows the value: for all paths, until the browser is closed, not for scripts."""
    site = b"None; Partitioned" if same_site == "none" else b"Lax"
    return b"; Path=/; HttpOnly; SameSite=%b%b" % (site, b"; Secure" if secure else b"")


def longest_token(name: str, same_site: SameSite, *, secure: bool) -> int:
    """Return the length of the longest token that fits into a cookie of this name, sealed and in base64."""
    room = MAX_COOKIE - len(cookie_name(name, secure=secure)) - 1 - len(attributes(same_site, secure=secure))
    return room * 3 // 4 - SEALED
