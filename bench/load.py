"""Load on a proxy: a fixed number of connections, each with one operation in flight at a time (a closed loop).

wrk, if installed, makes the requests on kept connections, ``bench.generator`` everything else. Both run in a process of
their own.

A closed loop drives the proxy as fast as it can go, so latencies are those of a saturated proxy: good for comparing
proxies, not for predicting what users see. wrk opens its connections during each run, which costs the proxy time
within the run; ``bench.generator`` opens them before.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.messages import request, tokens
from bench.process import BenchError, stop, tail

_BY_WRK = {"get", "many", "browser", "post", "chunked"}

_SCRIPT = """
local requests, turn = {%s}, 0
function request()
  turn = turn %% #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"operations": %%d, "seconds": %%f, "p50": %%f, "p99": %%f, "longest": %%f, "errors": %%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    latency.max / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
_OPENSSL = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = same
[same]
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""
"""One cipher and curve for all: by default each proxy would use the favourites of its library."""


@dataclass(frozen=True)
class Result:
    """What the clients measured; times are in seconds."""

    operations: int
    seconds: float
    p50: float
    p99: float
    longest: float
    errors: int = 0
    """Answers that were not 2xx, and connections that failed, closed or timed out."""
    reconnects: int = 0
    """Connections that the proxy closed between requests: not an error, but it takes time."""


@dataclass(frozen=True)
class LoadSpec:
    """What load to generate."""

    kind: str
    """Kind of traffic, see ``bench.scenarios``."""
    port: int
    certificate: Path | None
    """The certificate to trust, with TLS."""
    connections: int


class Load(ABC):
    """A load generator."""

    def run(self, seconds: float) -> Result:
        """Load the proxy for this time. Raises ``BenchError`` at any error: such numbers cannot be compared."""
        result = self._run(seconds)
        if result.errors:
            raise BenchError(f"{result.errors} errors in {result.operations} operations")
        return result

    @abstractmethod
    def _run(self, seconds: float) -> Result: ...


@contextmanager
def load(spec: LoadSpec, folder: Path) -> Iterator[Load]:
    """Run the suitable generator until the block ends."""
    wrk = shutil.which("wrk")
    if wrk and spec.kind in _BY_WRK:
        yield Wrk(wrk, spec, folder)
        return
    with ours(spec, folder) as generator:
        yield generator


@contextmanager
def ours(spec: LoadSpec, folder: Path) -> Iterator["Clients"]:
    """Run our own generator until the block ends."""
    log = folder / f"{spec.kind}.log"
    command = [sys.executable, "-m", "bench.generator", spec.kind, str(spec.port), str(spec.connections)]
    if spec.certificate:
        command.append(str(spec.certificate))
    with log.open("wb") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(folder),
        )
    with child:
        try:
            yield Clients(child, log)
        finally:
            stop(child)


class Wrk(Load):
    """wrk (https://github.com/wg/wrk). It takes only whole seconds, so it is run without end and interrupted."""

    def __init__(self, program: str, spec: LoadSpec, folder: Path) -> None:
        script = folder / "wrk.lua"
        quoted = (json.dumps(request(spec.kind, token).decode()) for token in tokens(spec.kind))  # as Lua quotes ASCII
        script.write_text(_SCRIPT % ", ".join(quoted))
        url = f"{'https' if spec.certificate else 'http'}://127.0.0.1:{spec.port}"
        self._command = [program, "-t1", f"-c{spec.connections}", "-d1h", "-s", str(script), url]
        self._environment = _environment(folder)

    def _run(self, seconds: float) -> Result:
        with subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self._environment
        ) as child:
            try:
                time.sleep(seconds)
                child.send_signal(signal.SIGINT)
                _, output = child.communicate(timeout=10)
            finally:
                child.kill()
        if not output.startswith("{"):
            raise BenchError(f"wrk failed: {output.strip()}")
        return Result(**json.loads(output))


class Clients(Load):
    """``bench.generator`` as a child process: any number of runs on the same connections."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log
        self._line()  # "ready": all clients are connected

    def begin(self, seconds: float) -> None:
        """Start a run without waiting for its end."""
        assert self._child.stdin is not None
        print(seconds, file=self._child.stdin, flush=True)

    def end(self) -> Result:
        """Wait for the end of the run and return its result."""
        return Result(**json.loads(self._line()))

    def _run(self, seconds: float) -> Result:
        self.begin(seconds)
        return self.end()

    def _line(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise BenchError(f"the load generator failed:\n{tail(self._log)}")
        return line


def _environment(folder: Path) -> dict[str, str]:
    configuration = folder / "openssl.cnf"
    configuration.write_text(_OPENSSL)
    return {**os.environ, "OPENSSL_CONF": str(configuration)}
