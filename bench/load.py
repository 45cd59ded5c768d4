"""Load on a proxy: a fixed number of connections, each with one operation in flight at a time (a closed loop).

Requests on kept connections come from wrk where it is installed, everything else from ``bench.generator``. Both run
in a process of their own.
A closed loop drives the proxy as fast as it can go, so latencies are those of a saturated proxy: good for comparing
proxies with each other, not for predicting what users see. wrk connects anew for each run, which its proxy pays for
within the run; ``bench.generator`` has its connections before.
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
"""Left to themselves, proxies choose what their libraries like best: the same job is the same cipher and curve."""


@dataclass(frozen=True)
class Result:
    """What the clients saw; times in seconds."""

    operations: int
    seconds: float
    p50: float
    p99: float
    longest: float
    errors: int = 0
    """Answers that were not 2xx, and connections that failed, closed or timed out."""
    reconnects: int = 0
    """Connections that the proxy closed between requests, which is no error but costs time."""


@dataclass(frozen=True)
class Aim:
    """What to load, and how."""

    kind: str
    """What clients do: see ``bench.scenarios``."""
    port: int
    certificate: Path | None
    """The one to trust, if TLS is spoken."""
    connections: int


class Load(ABC):
    """A load generator, connected or ready to."""

    def run(self, seconds: float) -> Result:
        """Load the proxy for so long. Raises ``BenchError`` if anything went wrong: such numbers compare nothing."""
        result = self._run(seconds)
        if result.errors:
            raise BenchError(f"{result.errors} errors beside {result.operations} operations")
        return result

    @abstractmethod
    def _run(self, seconds: float) -> Result: ...


@contextmanager
def load(aim: Aim, folder: Path) -> Iterator[Load]:
    """The generator for this aim, until the block ends."""
    wrk = shutil.which("wrk")
    if wrk and aim.kind in _BY_WRK:
        yield Wrk(wrk, aim, folder)
        return
    with ours(aim, folder) as generator:
        yield generator


@contextmanager
def ours(aim: Aim, folder: Path) -> Iterator["Clients"]:
    """Our own generator for this aim, until the block ends."""
    log = folder / f"{aim.kind}.log"
    command = [sys.executable, "-m", "bench.generator", aim.kind, str(aim.port), str(aim.connections)]
    if aim.certificate:
        command.append(str(aim.certificate))
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
    """wrk: https://github.com/wg/wrk. It counts in whole seconds, so it is told to go on for ever and interrupted."""

    def __init__(self, program: str, aim: Aim, folder: Path) -> None:
        script = folder / "wrk.lua"
        quoted = (json.dumps(request(aim.kind, token).decode()) for token in tokens(aim.kind))  # as Lua quotes ASCII
        script.write_text(_SCRIPT % ", ".join(quoted))
        url = f"{'https' if aim.certificate else 'http'}://127.0.0.1:{aim.port}"
        self._command = [program, "-t1", f"-c{aim.connections}", "-d1h", "-s", str(script), url]
        self._environment = _environment(folder)

    def _run(self, seconds: float) -> Result:
        with subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self._environment
        ) as child:
            try:
                time.sleep(seconds)
                child.send_signal(signal.SIGINT)
                _, said = child.communicate(timeout=10)
            finally:
                child.kill()
        if not said.startswith("{"):
            raise BenchError(f"wrk failed: {said.strip()}")
        return Result(**json.loads(said))


class Clients(Load):
    """``bench.generator``: seconds in, a result out, over and over on the same connections."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log
        self._line()  # they have connected

    def begin(self, seconds: float) -> None:
        """Start a run without waiting for its end."""
        assert self._child.stdin is not None
        print(seconds, file=self._child.stdin, flush=True)

    def end(self) -> Result:
        """The result of the run that was begun."""
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
