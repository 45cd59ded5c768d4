"""curl sees the same through the balancer as from the backend itself."""

import shutil
import subprocess

import pytest
from echo import Echo
from harness import listener, pool

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

CASES = {
    "GET": [],
    "HEAD": ["-I"],
    "POST": ["-d", "a=b"],
    "POST of 2 MB, which curl asks about first": ["-d", "@{file}"],
    "PUT in chunks": ["-T", "-", "-H", "Transfer-Encoding: chunked"],
    "PUT of a file": ["-T", "{file}"],
    "an explicit Expect": ["-d", "a=b", "-H", "Expect: 100-continue"],
    "HTTP/1.0": ["--http1.0"],
    "POST in HTTP/1.0": ["--http1.0", "-d", "a=b"],
    "two requests on one connection": ["{url}/second?token=secret-2"],
}


@pytest.fixture(scope="module")
def echo():
    with Echo() as backend:
        yield backend


@pytest.fixture(scope="module")
def daemon(start, echo, authority):
    tls = {"certificates": [authority.issue("ide.example")]}
    return start(listeners=[listener(), listener("safe", tls=tls)], pool=[pool(echo)])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("curl") / "file"
    path.write_bytes(b"0123456789abcdef" * 131072)
    return path


def curl(base, path, options, file):
    """Exit code, status line, fields and body of each response; framing and persistence are each side's own."""
    filled = [each.format(file=file, url=base) for each in options]
    command = ["curl", "-sS", "-i", "--max-time", "10", *filled, f"{base}{path}?token=secret-1"]
    done = subprocess.run(command, input=file.read_bytes(), capture_output=True, check=False)
    lines = done.stdout.split(b"\r\n")
    own = (b"connection:", b"transfer-encoding:", b"content-length:")
    return done.returncode, done.stderr, sorted(line for line in lines if not line.lower().startswith(own))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("path", ["/plain", "/chunked", "/until-close", "/no-content"])
def test_the_same_as_without(daemon, echo, file, case, path):
    direct = curl(f"http://{echo}", path, CASES[case], file)
    through = curl(f"http://127.0.0.1:{daemon.ports['web'][0]}", path, CASES[case], file)
    assert through == direct
    assert direct[0] == 0
    assert any(line.startswith(b"HTTP/1.1 20") for line in direct[2])


@pytest.mark.parametrize("case", ["GET", "HEAD", "PUT in chunks", "HTTP/1.0"])
def test_the_same_over_tls(daemon, echo, file, authority, case):
    direct = curl(f"http://{echo}", "/plain", CASES[case], file)
    port = daemon.ports["safe"][0]
    options = [*CASES[case], "--cacert", str(authority.file), "--resolve", f"ide.example:{port}:127.0.0.1"]
    assert curl(f"https://ide.example:{port}", "/plain", options, file) == direct
