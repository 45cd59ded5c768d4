"""The secret of the daemon, and the keys that are derived from it, one for each purpose (HKDF, RFC 5869).

A file holds 32 bytes or 64 hex digits. A second line holds the secret that was used before: what it has sealed or
signed is still accepted, so that secrets can be replaced on several balancers one after the other.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from balancer.config.finding import Finding
from balancer.config.model import Config
from balancer.config.scalars import shown
from balancer.config.settings import KeySettings

SECRET_BYTES = 32
_HEX = re.compile(rb"[0-9A-Fa-f]{64}(?=\r?\n|\Z)")
_RAW = re.compile(rb"(?s:.{32})(?=\r?\n|\Z)")
_BREAK = re.compile(rb"\r?\n")


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Return the secret in a file, and the one before it if there is one.

    Raises ``ValueError`` with a message that names the file, and the line if that is what is wrong.
    """
    name = shown(str(path), limit=4096)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    found: list[bytes] = []
    at = 0
    while at < len(data) or not found:
        match = _HEX.match(data, at) or _RAW.match(data, at)
        if match is None or len(found) == 2:
            what = "is one too many" if match else "is not 32 bytes or 64 hex digits"
            hint = "make one with `openssl rand -hex 32`; a second line is the secret used before"
            raise ValueError(f"{name}: line {len(found) + 1} {what}; {hint}")
        found.append(match[0] if len(match[0]) == SECRET_BYTES else bytes.fromhex(match[0].decode()))
        end = _BREAK.match(data, match.end())
        at = end.end() if end else match.end()
    return tuple(found)


def read(config: Config) -> tuple[tuple[bytes, ...], list[Finding]]:
    """Return the secrets in the file that ``key_file`` names, and what is wrong with it."""
    path = config.key_file
    if path is None:
        return (), []
    try:
        secrets = read_secrets(path)
        mode = path.stat().st_mode
    except (ValueError, OSError) as error:
        return (), [Finding(("key_file",), str(error))]
    name, found = shown(str(path), limit=4096), []
    if any(len(set(secret)) == 1 for secret in secrets):
        found.append(Finding(("key_file",), f"{name} can be guessed; make it with `openssl rand -hex 32`"))
    if mode & 0o007:
        message = f"{name} can be read by every user of this machine: chmod o= it"
        found.append(Finding(("key_file",), message, warning=True))
    return secrets, found


def derive(secret: bytes, purpose: str) -> bytes:
    """Return the key of 32 bytes for a purpose."""
    return HKDF(SHA256(), SECRET_BYTES, salt=None, info=b"balancer " + purpose.encode()).derive(secret)


def derive_keys(secrets: Sequence[bytes], digest: bytes) -> KeySettings:
    """Return all keys. That of the digests is given: it stays the same when secrets are replaced."""
    passes, seals = (tuple(derive(secret, purpose) for secret in secrets) for purpose in ("trace", "remember"))
    return KeySettings(digest, passes, seals)
