"""Hosts that say who they are and keep what is upgraded open, and the tunnels that end at them."""

import contextlib
import re
import socket
import socketserver
import threading

from proxies import PATIENCE

UPGRADE = "GET /ws?token={} HTTP/1.1\r\nHost: ide.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class Host(socketserver.ThreadingTCPServer):
    """Says who it is, and echoes on what is upgraded."""

    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, name, address="127.0.0.1"):
        super().__init__((address, 0), Conversation)
        self.name = name.encode()
        self._thread = threading.Thread(target=self.serve_forever, args=[0.01])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()


class Conversation(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            while head := self.head():
                mark = b"X-Host: " + self.server.name + b"\r\n"
                if b"upgrade: echo" in head.lower():
                    self.wfile.write(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n" + mark + b"\r\n")
                    while data := self.request.recv(4096):
                        self.wfile.write(data)
                    return
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + mark + b"\r\n")

    def head(self):
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return b"".join(lines)


class Tunnel:
    """An open tunnel of a user; ``host`` is where it ends."""

    def __init__(self, address, port, user):
        self._sock = socket.create_connection((address, port), PATIENCE)
        self._sock.sendall(UPGRADE.format(user).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = self._sock.recv(4096)
            assert more, head
            head += more
        self.host = re.search(rb"(?i)x-host: (\S+)", head)[1].decode()

    def lives(self):
        try:
            self._sock.sendall(b"ping")
            return self._sock.recv(4) == b"ping"
        except ConnectionError:
            return False

    def close(self):
        self._sock.close()
