"""Pure work that takes long, in a process of its own.

Some facts. Building a ring of 500 backends takes a quarter of a second of Python. In a thread it would take turns with
the data plane at the interpreter lock, up to 5 ms (``sys.getswitchinterval``) for each of its system calls; in another
process it takes another core. What comes back are arrays, which unpickle in a millisecond. The process is started by
exec at the first use, ends with ours (its standard input closes), and is replaced if it dies.
"""

import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import trio

from balancer.errors import Refused

T = TypeVar("T")


class Offload:
    """Calls module-level functions in the other process, one at a time."""

    def __init__(self) -> None:
        self._process: trio.Process | None = None
        self._lock = trio.Lock()

    async def call(self, function: Callable[..., T], *args: Any) -> T:  # noqa: ANN401  # whatever the function takes
        """``function(*args)``, or the exception it raised. All of it must be picklable.

        Raises ``Refused`` if the process cannot be started, or does not live to answer.
        """
        request = _frame((function, args))
        async with self._lock:
            try:
                ok, result = await self._answer(request)
            except trio.Cancelled:  # its answer would be taken for the next one's
                await self.close()
                raise
        if not ok:
            raise result
        answer: T = result
        return answer

    async def close(self) -> None:
        """End the process; the next call starts another."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await trio.aclose_forcefully(stream)

    async def _answer(self, request: bytes) -> tuple[bool, Any]:
        """Twice: a process that has died since its last answer is replaced."""
        for _ in range(2):
            try:
                return await self._ask(request)
            except (trio.BrokenResourceError, EOFError):
                await self.close()
            except OSError as error:
                raise Refused(f"no process to compute the ring could be started: {error.strerror}") from None
        raise Refused("the process that computes rings has died over it; is there enough memory?")

    async def _ask(self, request: bytes) -> tuple[bool, Any]:
        if self._process is None:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "balancer.control.offload"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        await stdin.send_all(request)
        size = int.from_bytes(await _exactly(stdout, 8))
        answer: tuple[bool, Any] = pickle.loads(await _exactly(stdout, size))
        return answer


def _frame(value: object) -> bytes:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(8) + data


async def _exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = await stream.receive_some(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The other process: answer until the requests end."""
    while header := requests.read(8):
        function, args = pickle.loads(requests.read(int.from_bytes(header)))
        try:
            answer = (True, function(*args))
        except Exception as error:
            answer = (False, error)
        answers.write(_frame(answer))
        answers.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        serve(sys.stdin.buffer, sys.stdout.buffer)
