"""The servers behind the proxies, as cheap as they can be: they share the machine with what is measured.

GET is answered by nginx where it is installed, else by an epoll loop of our own. WebSocket echo is always our own: it
speaks only what the load generator sends, frames of less than 126 bytes masked with zeros, so unmasking is a copy.
As a program: ``python -m bench.backends get|echo PORT...``.
"""

import base64
import hashlib
import select
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import free_ports, server

COUNT = 3
"""Backends, each with a port of its own; one process serves them all."""
BODY = b"hello from the backend behind it\n"

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/backend.pid;
error_log {folder}/backend.err;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        {listen}
        location / {{ default_type text/plain; return 200 "{body}\\n"; }}
    }}
}}
"""
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


@contextmanager
def backends(kind: str, folder: Path) -> Iterator[list[int]]:
    """Serve ``get`` or ``echo`` until the block ends; gives the ports."""
    ports = free_ports(COUNT)
    if kind == "get" and (nginx := shutil.which("nginx")):
        configuration = folder / "backend.conf"
        listen = " ".join(f"listen 127.0.0.1:{port};" for port in ports)
        configuration.write_text(_NGINX.format(folder=folder, listen=listen, body=BODY.decode().rstrip("\n")))
        command = [nginx, "-e", f"{folder}/backend.err", "-c", str(configuration)]
    else:
        command = [sys.executable, "-m", "bench.backends", kind, *map(str, ports)]
    with server("backend", command, folder, ports):
        yield ports


def answer_get(received: bytearray) -> bytes:
    """Take whole requests (without bodies) from ``received``; what to send."""
    answer = b""
    while (end := received.find(b"\r\n\r\n")) >= 0:
        del received[: end + 4]
        answer += _RESPONSE
    return answer


def answer_echo(received: bytearray) -> bytes:
    """Take the handshake or whole frames from ``received``; what to send."""
    if received.startswith(b"GET "):
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return b""
        lines = bytes(received[:end]).split(b"\r\n")
        del received[: end + 4]
        key = next(line.split(b":")[1].strip() for line in lines if line.lower().startswith(b"sec-websocket-key:"))
        return _SWITCH + base64.b64encode(hashlib.sha1(key + _GUID).digest()) + b"\r\n\r\n"
    answer = b""
    while len(received) > 1 and len(received) >= (size := 6 + (received[1] & 127)):
        answer += bytes((received[0], size - 6)) + received[6:size]
        del received[:size]
    return answer


def serve(answer: Callable[[bytearray], bytes], ports: list[int]) -> None:
    """Answer on every connection for ever. Answers are small and clients read them: a full socket ends the program."""
    epoll = select.epoll()
    listeners = [socket.create_server(("127.0.0.1", port), backlog=4096) for port in ports]
    accepting = {listener.fileno(): listener for listener in listeners}
    open_ones: dict[int, tuple[socket.socket, bytearray]] = {}
    for number in accepting:
        epoll.register(number, select.EPOLLIN)
    while True:
        for number, _ in epoll.poll():
            if number in accepting:
                sock, _ = accepting[number].accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)
                open_ones[sock.fileno()] = sock, bytearray()
                epoll.register(sock.fileno(), select.EPOLLIN)
                continue
            sock, received = open_ones[number]
            try:
                data = sock.recv(16384)
            except ConnectionError:
                data = b""
            if data:
                received += data
                if out := answer(received):
                    sock.sendall(out)
            else:
                del open_ones[number]
                sock.close()


if __name__ == "__main__":
    serve({"get": answer_get, "echo": answer_echo}[sys.argv[1]], list(map(int, sys.argv[2:])))
