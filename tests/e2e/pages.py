"""Pages of IDEs as browsers load them, over TLS: hosts that say who they are, and a client that keeps cookies."""

import base64
import hashlib
import http.client
import re
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

TOKENS_PAGE = (Path(__file__).parents[2] / "docs/tokens.md").read_text()
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NAME = "ide.example"


def recipe(title):
    """The configuration below a title of the manual, as ``[pool.token]``."""
    text = TOKENS_PAGE.partition(f"### {title}\n")[2].partition("\n### ")[0]
    return tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])["pool"]["token"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, self.headers))
        if self.headers.get("Upgrade") == "websocket":
            key = self.headers["Sec-WebSocket-Key"].encode()
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + GUID).digest()).decode())
            self.send_header("X-Host", self.server.name)
            self.end_headers()
            while self.rfile.read(1):
                pass
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("X-Host", self.server.name)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class Host(ThreadingHTTPServer):
    """A host that answers everything with its name; a context manager."""

    daemon_threads = True

    def __init__(self, name):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.seen = []
        Thread(target=self.serve_forever, daemon=True).start()

    def __str__(self):
        return f"127.0.0.1:{self.server_port}"

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class BrowserProfile:
    """Sends requests as a browser does: with its cookies, and with what it tells of their purpose."""

    def __init__(self, port, tls):
        self.port, self.tls = port, tls
        self.cookies = {}
        self.open = []

    def ask(self, target, dest="empty", method="GET", **fields):
        """The status, and the host that answered."""
        headers = {
            "Host": NAME,
            "Sec-Fetch-Dest": dest,
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=self.tls)
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        if answer.status == 101:
            self.open.append(connection)
        else:
            answer.read()
            connection.close()
        return answer.status, answer.headers.get("X-Host")

    def upgrade(self, target, **fields):
        """Open a WebSocket that stays open."""
        handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        return self.ask(target, "websocket", Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", **handshake, **fields)

    def close(self):
        while self.open:
            self.open.pop().close()

    def page(self, token):
        """Load a page and all that belongs to it: the hosts of its parts."""
        page = f"https://{NAME}/lab?token={token}"
        parts = [
            self.ask(f"/lab?token={token}", "document"),
            self.ask("/static/main.js", "script", Referer=page),
            self.ask("/static/theme.css", "style", Referer=page),
            self.ask("/static/icons.woff2", "font", Referer=f"https://{NAME}/static/theme.css"),
            self.ask("/api/kernelspecs", Referer=page),
            self.ask("/api/kernelspecs", Referer=f"https://{NAME}/lab"),
            self.ask("/api/sessions", method="POST", Referer=f"https://{NAME}/lab", Content_Length="0"),
            self.ask("/api/contents/a%20b.ipynb", method="PUT", Content_Length="0"),
            self.ask("/static/worker.js", "sharedworker"),
            self.upgrade("/terminals/websocket/1", Origin=f"https://{NAME}"),
            self.upgrade("/api/kernels/1234/channels?session_id=5", Origin=f"https://{NAME}"),
        ]
        assert {status for status, _ in parts} == {200, 101}, parts
        return {host for _, host in parts}
