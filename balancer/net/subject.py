"""The subject of a certificate, as ``ssl.SSLObject.getpeercert`` returns it, in one line of visible ASCII.

It is written as nginx does (``X509_NAME_print_ex`` with ``XN_FLAG_RFC2253``): the most specific part first, special
characters escaped, all bytes but visible ASCII as ``\\XX``. So it can end no line and forge no part.
"""

import re
from collections.abc import Mapping, Sequence

Name = Sequence[Sequence[tuple[str, str]]]
"""Parts of a name, each with one attribute or several."""
_SHORT: Mapping[str, str] = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "givenName": "GN",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "surname": "SN",
    "userId": "UID",
}
_SPECIAL = re.compile(rb'[,+"\\<>;]|^[# ]| $')
_INVISIBLE = re.compile(rb"[^ -~]")


def subject_line(name: Name) -> bytes:
    """Return the whole name: ``CN=alice,O=Example``."""
    return b",".join(b"+".join(_attribute(*each) for each in part) for part in reversed(name))


def common_name(name: Name) -> bytes:
    """Return the last common name in it, or nothing."""
    names = [value for part in name for kind, value in part if kind == "commonName"]
    return _INVISIBLE.sub(_hex, names[-1].encode()) if names else b""


def _attribute(kind: str, value: str) -> bytes:
    escaped = _SPECIAL.sub(lambda match: b"\\" + match[0], value.encode())
    return _SHORT.get(kind, kind).encode() + b"=" + _INVISIBLE.sub(_hex, escaped)


def _hex(match: re.Match[bytes]) -> bytes:
    return b"\\%02X" % match[0][0]
