"""Responses that rules give in the place of a backend: redirects and answers of the configuration."""

from http import HTTPStatus

from balancer.config.settings import Answer, Redirect
from balancer.errors import ProxyError, Source
from balancer.http.head import Request

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = (204, 304)


def rule_answer(action: Redirect | Answer, request: Request, scheme: bytes, *, keep_alive: bool) -> bytes:
    """Return the response of a rule. Raise ``ProxyError`` if there is no host to redirect to."""
    if isinstance(action, Redirect):
        status, body = action.code, b""
        fields = b"Location: %b\r\nCache-Control: no-store\r\n" % _location(action, request, scheme)
    else:
        status, body = action.status, action.body
        fields = b"Content-Type: %b\r\n" % action.content_type.encode()
    length = b"" if status in _BODILESS else b"Content-Length: %d\r\n" % len(body)
    connection = b"" if keep_alive else b"Connection: close\r\n"
    line = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode()
    shown = b"" if request.method == b"HEAD" or status in _BODILESS else body
    return line + fields + length + connection + b"\r\n" + shown


def _location(action: Redirect, request: Request, scheme: bytes) -> bytes:
    if action.location is not None:
        return action.location.encode()
    target = (action.prefix or "").rstrip("/").encode() + (b"/" if request.target == b"*" else request.target)
    if action.scheme is None and action.host is None:
        # Two slashes at the beginning would be a host (RFC 3986, 4.2), and the client's choice.
        return b"/" + target.lstrip(b"/") if target.startswith(b"//") else target
    host = action.host.encode() if action.host is not None else request.host
    if not host:
        raise ProxyError(Source.CLIENT, 400, "Host is missing")
    return (action.scheme.encode() if action.scheme is not None else scheme) + b"://" + host + target
