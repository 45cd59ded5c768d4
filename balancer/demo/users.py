"""The demo's users: five named ones, and a made-up name for any other token."""

from dataclasses import dataclass
from hashlib import blake2b, sha256

NAMES = ("alice", "bob", "carol", "david", "ellen")


def token_of(name: str) -> str:
    """Return the token of a demo user. It looks like that of a cloud IDE, except that anyone can guess it."""
    return sha256(name.encode()).hexdigest()


_NAME_OF_TOKEN = {token_of(name): name for name in NAMES}


@dataclass(frozen=True)
class User:
    """The owner of a token. ``digest`` stands for the token wherever it is shown or stored."""

    name: str
    digest: str

    @classmethod
    def of(cls, token: str) -> "User":
        digest = blake2b(token.encode(), digest_size=16, person=b"balancer-demo").hexdigest()
        return cls(_NAME_OF_TOKEN.get(token, f"user-{digest[:6]}"), digest)
