"""What operators ask a running proxy, and what it must answer."""

import http.client
import socket
from pathlib import Path

from bench.process import BenchError

PATIENCE = 20.0
"""Seconds for an answer."""


def scrape(port: int, path: str = "/metrics") -> None:
    """Read all metrics, as Prometheus does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200 or b"# TYPE" not in response.read():
            raise BenchError(f"no metrics at port {port}: status {response.status}")
    finally:
        connection.close()


def converse(path: Path, question: bytes) -> bytes:
    """Everything that is answered on a Unix socket, until the other side closes it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(question)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer
