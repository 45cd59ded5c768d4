"""The demo's prompt: lines edited with readline, and whether anybody reads the output."""

import readline
import select
import sys
import termios
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

import trio

_PROMPT = "demo> "


def is_interactive() -> bool:
    """Return whether there is somebody to type and to read."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextmanager
def terminal_kept() -> Iterator[None]:
    """Leave the terminal as it was: the thread that waits for a line, in a mode of its own, cannot be stopped."""
    if not is_interactive():
        yield
        return
    mode = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, mode)


class Prompt:
    """The prompt, if standard input and output are a terminal. Tab completes to ``words``."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted(words)
        self._waiting = False

    async def lines(self) -> AsyncIterator[str]:
        """Yield the lines typed until end of file (Ctrl-D)."""
        readline.set_completer(self._complete)
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")
        readline.parse_and_bind("set enable-bracketed-paste off")  # or it would stay on when the demo ends
        while True:
            self._waiting = True
            try:
                line = await trio.to_thread.run_sync(input, _PROMPT, abandon_on_cancel=True)
            except EOFError:
                return
            finally:
                self._waiting = False
            yield line

    def notify(self, text: str) -> None:
        """Print a message; while a line is being typed, above it."""
        if self._waiting:
            print(f"\r\x1b[K{text}\n{_PROMPT}{readline.get_line_buffer()}", end="", flush=True)
        else:
            print(text, flush=True)

    def _complete(self, text: str, number: int) -> str | None:
        found = [word for word in self._words if word.startswith(text)]
        return f"{found[number]} " if number < len(found) else None


async def output_unread() -> None:
    """Wait until the reader of standard output has gone, as after ``balancer demo | head -2``.

    A write would fail, but the demo has nothing to write while nothing happens.
    """
    with select.epoll() as epoll:
        try:
            epoll.register(sys.stdout.fileno(), 0)  # errors are reported in any case: epoll_ctl(2)
        except PermissionError:  # a file, which is always there
            await trio.sleep_forever()
        await trio.lowlevel.wait_readable(epoll.fileno())
