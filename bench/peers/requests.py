"""Requests to the operators' interfaces of a running proxy."""

import http.client
import socket
from pathlib import Path

from bench.process import BenchError

ANSWER_TIMEOUT = 20.0
"""Seconds for an answer."""


def scrape(port: int, path: str = "/metrics") -> None:
    """Read all metrics, as Prometheus does. Raises ``BenchError`` if there are none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200 or b"# TYPE" not in response.read():
            raise BenchError(f"no metrics at port {port}: status {response.status}")
    finally:
        connection.close()


def exchange(path: Path, question: bytes) -> bytes:
    """Send ``question`` to a Unix socket and return the answer, which ends when the proxy closes the connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(ANSWER_TIMEOUT)
        sock.connect(str(path))
        sock.sendall(question)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer
