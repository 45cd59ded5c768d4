"""A backend in a process of its own that answers by itself: with method, target and body of the request.

The target's path chooses how: ``/chunked``, ``/until-close``, ``/no-content``, else with a length.
"""

import contextlib
import subprocess
import sys
import threading

from wire import Backend, chunked, end_with_parent


class Echo:
    """The process, reachable once constructed; a context manager that ends it."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent
        )
        self._address = self._process.stdout.readline().strip()

    def __str__(self):
        return self._address

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()


def serve():
    backend = Backend()
    backend.listener.settimeout(None)
    print(backend, flush=True)
    while True:
        peer = backend.accept()
        peer.sock.settimeout(None)
        threading.Thread(target=converse, args=[peer], daemon=True).start()


def converse(peer):
    with peer, contextlib.suppress(OSError, AssertionError):  # it has gone
        while True:
            request = peer.request(on_expect=lambda: peer.send(b"HTTP/1.1 100 Continue\r\n\r\n"))
            peer.send(answer(request))
            if request.start.endswith("1.0") or request.target.startswith("/until-close"):
                return


def answer(request):
    method = request.start.partition(" ")[0]
    body = f"{method} {request.target} {request['content-type']}\n".encode() + request.body
    text = b"" if method == "HEAD" else body
    if request.target.startswith("/chunked"):
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (text and chunked(text))
    if request.target.startswith("/until-close"):
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + text
    if request.target.startswith("/no-content"):
        return b"HTTP/1.1 204 No Content\r\nX-Reason: none\r\n\r\n"
    return b'HTTP/1.1 201 Created\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n' % len(body) + text


if __name__ == "__main__":
    serve()
