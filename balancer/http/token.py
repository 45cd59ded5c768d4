"""The user's token in a request target, and targets without it.

A token is a credential: no message made here quotes one, and ``without_query`` is what a log may show of a target.
"""

import re
from functools import cache
from urllib.parse import unquote_to_bytes

from balancer.config.model import Token
from balancer.errors import ProxyError, Source

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def extract(target: bytes, rule: Token) -> bytes | None:
    """The value of the rule's parameter in the raw query, or None if it is absent or empty.

    The query begins after the first ``?`` and is split at ``&``; names are compared byte for byte, and a piece without
    ``=`` is no parameter, all as haproxy's ``url_param`` does.

    Raises ``ProxyError`` with status 400 for a value that is too long, for bad escapes where they are decoded, and for
    different values where the rule refuses them. An empty value is different from any other: which of the two a backend
    would take, nobody knows.
    """
    values = _values(rule.param).findall(target.partition(b"?")[2])
    if not values:
        return None
    value = values[0]
    if len(value) > rule.max_length:
        raise _refused("the token is too long")
    if rule.decode:
        value = _decoded(value)
    if len(values) > 1 and rule.duplicates == "refuse":
        others = map(_decoded, values) if rule.decode else values
        if any(other != value for other in others):
            raise _refused("the token is given more than once, with different values")
    return value or None


@cache
def _values(param: str) -> re.Pattern[bytes]:
    """Finds the values of ``param`` in a query."""
    return re.compile(rb"(?:^|&)%b=([^&]*+)" % re.escape(param.encode()))


def without_query(target: bytes) -> str:
    """The path of a target, as printable ASCII."""
    path = target.partition(b"?")[0].decode("latin-1")
    return path if path.isascii() and path.isprintable() else path.encode("unicode_escape").decode()


def _decoded(value: bytes) -> bytes:
    if _BAD_ESCAPE.search(value):
        raise _refused("the token has a bad percent escape")
    return unquote_to_bytes(value)


def _refused(reason: str) -> ProxyError:
    return ProxyError(Source.CLIENT, 400, reason)
