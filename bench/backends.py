"""The servers behind the proxies, as cheap as possible because they share the machine with the measured proxy.

nginx, if installed, answers plain GET requests, with a head that is never the same. For everything else there is
``python -m bench.backends PORT...``, which understands only what our clients send.
"""

import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.loop import READ, Loop, Steps, discard, receive, send
from bench.messages import BULK, HELLO, MEBIBYTE, OK, OK_BULK, OK_CHUNKED, field, switching, unmasked
from bench.process import free_ports, server

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/backend.pid;
error_log {folder}/backend.err;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        {listen}
        location / {{ default_type text/plain; add_header ETag '"$request_id"'; return 200 "{body}\\n"; }}
    }}
}}
"""


@contextmanager
def backends(folder: Path, count: int, *, small: bool) -> Iterator[list[int]]:
    """Serve until the block ends, and yield the ports, one for each backend. One process serves all of them.

    ``small``: there will be only GET requests without a body.
    """
    ports = free_ports(count)
    if small and (nginx := shutil.which("nginx")):
        configuration = folder / "backend.conf"
        listen = " ".join(f"listen 127.0.0.1:{port};" for port in ports)
        configuration.write_text(_NGINX.format(folder=folder, listen=listen, body=HELLO.decode().rstrip("\n")))
        command = [nginx, "-e", f"{folder}/backend.err", "-c", str(configuration)]
    else:
        command = [sys.executable, "-m", "bench.backends", *map(str, ports)]
    with server("backend", command, folder, ports):
        yield ports


def serve(sock: socket.socket) -> Steps:
    """Serve one connection until the peer closes it."""
    received = bytearray()
    try:
        while data := (yield from receive(sock)):
            received += data
            while (end := received.find(b"\r\n\r\n")) >= 0:
                head = bytes(received[: end + 2])
                del received[: end + 4]
                if field(head, b"upgrade"):
                    yield from send(sock, switching(head))
                    yield from _echo(sock, received)
                    return
                yield from _answer(sock, head, received)
    except ConnectionError:
        pass
    finally:
        sock.close()


def _answer(sock: socket.socket, head: bytes, received: bytearray) -> Steps:
    body = int(field(head, b"content-length") or 0)
    here = min(body, len(received))
    del received[:here]
    yield from discard(sock, body - here)
    if head.startswith(b"GET /bulk"):
        yield from send(sock, OK_BULK)
        for _ in range(BULK):
            yield from send(sock, MEBIBYTE)
    else:
        yield from send(sock, OK_CHUNKED if head.startswith(b"GET /chunked") else OK)


def _echo(sock: socket.socket, received: bytearray) -> Steps:
    while True:
        if answer := unmasked(received):
            yield from send(sock, answer)
        data = yield from receive(sock)
        if not data:
            return
        received += data


def accept(loop: Loop, listener: socket.socket) -> Steps:
    """Accept and serve connections endlessly."""
    while True:
        yield listener, READ
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        loop.start(serve(sock))


def main(ports: list[int]) -> None:
    """Serve on these ports of 127.0.0.1 until killed."""
    loop = Loop()
    for port in ports:
        loop.start(accept(loop, socket.create_server(("127.0.0.1", port), backlog=4096)))
    loop.run()


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])))
