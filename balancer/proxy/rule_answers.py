"""Responses that rules give instead of a backend: redirects and answers of the configuration."""

from balancer.config.pem import covers
from balancer.config.settings import Answer, Redirect
from balancer.errors import ProxyError, Source
from balancer.http.head import Request
from balancer.http.rules import host_name
from balancer.proxy.replies import own_response


def rule_answer(action: Redirect | Answer, request: Request, scheme: bytes, *, keep_alive: bool) -> bytes:
    """Return the response of a rule. Raise ``ProxyError`` if there is no host to redirect to."""
    if isinstance(action, Redirect):
        status, content_type, body = action.code, "", b""
        fields = b"Location: %b\r\nCache-Control: no-store\r\n" % _location(action, request, scheme)
    else:
        status, content_type, body, fields = action.status, action.content_type, action.body, b""
    head_only = request.method == b"HEAD"
    return own_response(status, content_type, body, fields, head_only=head_only, keep_alive=keep_alive)


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
    if action.covered is not None:
        name = host_name(host)
        if not covers(action.covered, name.strip("[]")):
            raise ProxyError(Source.CLIENT, 421, "no certificate covers this host")
        host = host if action.host is not None else name.encode()
    return (action.scheme.encode() if action.scheme is not None else scheme) + b"://" + host + target
