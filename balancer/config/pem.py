"""A certificate chain and its key as bytes. Serving them needs no library that parses certificates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pem:
    """A certificate chain and its key as they were read; the files may have changed since."""

    cert: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    """DNS names and IP addresses of the leaf, in lower case."""
    algorithm: str = ""
    """Object identifier of the key's algorithm, such as that of RSA."""


def covers(names: Iterable[str], host: str) -> bool:
    """Return whether one of the ``names`` of certificates is that of ``host``, which is in lower case (RFC 6125)."""
    return not {host, "*." + host.partition(".")[2]}.isdisjoint(names)


def by_name(certificates: Sequence[Pem]) -> dict[str, tuple[Pem, ...]]:
    """Return the certificates to choose from for each name: the first of each algorithm, wildcards last."""
    found: dict[str, dict[str, Pem]] = {}
    for certificate in certificates:
        for name in certificate.names:
            found.setdefault(name, {}).setdefault(certificate.algorithm, certificate)
    wild = {name: dict(chosen) for name, chosen in found.items() if name.startswith("*.")}
    for name, chosen in found.items():
        for algorithm, certificate in wild.get("*." + name.partition(".")[2], {}).items():
            chosen.setdefault(algorithm, certificate)
    return {name: tuple(chosen.values()) for name, chosen in found.items()}
