"""Find out which host the balancer sends a user to, with a request to ``/whoami``."""

import json
import ssl
from pathlib import Path

import h11
import trio

ANSWER_TIMEOUT = 3.0
"""Seconds to wait for the answer."""


async def host_of(port: int, cert: Path, token: str) -> str | None:
    """Return the name of the host that answers requests with ``token``, or None without a valid answer.

    ``port`` is the balancer's port on 127.0.0.1, ``cert`` the certificate to trust.
    """
    try:
        with trio.fail_after(ANSWER_TIMEOUT):
            context = ssl.create_default_context(cafile=str(cert))
            tcp = await trio.open_tcp_stream("127.0.0.1", port)
            async with trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True) as stream:
                return await _exchange(stream, f"/whoami?token={token}")
    except (OSError, trio.TooSlowError, trio.BrokenResourceError, h11.RemoteProtocolError, json.JSONDecodeError):
        return None


async def _exchange(stream: trio.SSLStream[trio.SocketStream], target: str) -> str | None:
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target=target, headers=[("host", "localhost"), ("connection", "close")])
    await stream.send_all((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return str(json.loads(body)["host"]) if status == 200 else None
        elif isinstance(event, h11.ConnectionClosed):
            return None
