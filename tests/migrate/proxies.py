"""haproxy and nginx as they are installed, with hosts behind them that say who they are."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from wire import free_port

PATIENCE = 20
NGINX_PATHS = "".join(f"{kind}_temp_path {{folder}}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi"))
NGINX_PATHS += "uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n"

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def free_ports(count):
    """Ports that nobody listens on, all different."""
    found = set()
    while len(found) < count:
        found.add(free_port())
    return [*found]


def eventually(condition):
    """Until it is true; others give no sign when it becomes so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not become true"
        time.sleep(0.01)


def accepts(port, process):
    """Does somebody accept there?"""
    assert process.poll() is None, "it has ended"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def running(command, port, stdout, ending=signal.SIGTERM):
    """A program, until the end of the block; it listens on ``port``."""
    with stdout.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        try:
            eventually(lambda: accepts(port, process))
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{stdout.read_text()}") from None
        yield process
        process.send_signal(ending)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def nginx(folder: Path, inside_http: str, port: int, stream: str = "", modules: str = ""):
    """nginx with this in its ``http`` block, in the foreground and with all its files in ``folder``."""
    folder.mkdir(exist_ok=True)
    file = folder / "nginx.conf"
    paths = NGINX_PATHS.format(folder=folder)
    root = "user root;\n" if os.getuid() == 0 else ""
    file.write_text(
        f"{modules}{root}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\n{paths}{inside_http}\n}}\n{stream}"
    )
    command = ["nginx", "-c", str(file), "-e", str(folder / "error.log")]
    return running(command, port, folder / "out", signal.SIGQUIT)


def hosts(folder: Path, ports, marks=None):
    """A host on each port, which answers with its mark in ``X-Host`` and in its body."""
    marks = marks or [f"127.0.0.1:{port}" for port in ports]
    servers = "".join(
        f'server {{ listen 127.0.0.1:{port};\nadd_header X-Host "{mark}";\nreturn 200 "I am {mark}.\\n"; }}\n'
        for port, mark in zip(ports, marks, strict=True)
    )
    return nginx(folder, f"access_log off;\nkeepalive_requests 100000;\n{servers}", ports[0])


def haproxy(folder: Path, text: str, port: int):
    """haproxy with this configuration; what it logs to stdout is in ``folder / "log"``."""
    folder.mkdir(exist_ok=True)
    file = folder / "haproxy.cfg"
    file.write_text(text)
    return running(["haproxy", "-db", "-f", str(file)], port, folder / "log")


def tell(path: Path, command: str):
    """A command to haproxy's runtime API."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        sock.shutdown(socket.SHUT_WR)
        return sock.makefile().read()


def ask(port, targets, host="ide.example"):
    """The marks of the hosts that answer requests on one connection."""
    marks = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        for target in targets:
            connection.request("GET", target, headers={"Host": host})
            response = connection.getresponse()
            response.read()
            marks.append(response.getheader("X-Host"))
    finally:
        connection.close()
    return marks
