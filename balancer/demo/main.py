"""Run ``balancer demo``: three IDE hosts and a balancer in front of them. It leaves no files behind."""

import signal
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import trio

from balancer.config.load import load
from balancer.demo import texts
from balancer.demo.certificate import make_certificate
from balancer.demo.child import Child
from balancer.demo.operate import operate, shown, verb_of
from balancer.demo.prompt import Prompt, is_interactive, output_unread, terminal_kept
from balancer.demo.setup import DemoSetup, make_setup
from balancer.demo.users import NAMES, token_of
from balancer.demo.whoami import host_of
from balancer.errors import Refused
from balancer.ring.build import build

HOSTS = ("ide-01", "ide-02", "ide-03")
START_TIMEOUT = 20.0
"""Seconds for everything to be up."""
POLL_INTERVAL = 0.05
"""Seconds between two checks whether a host is up."""


def run_demo(port: int = 8443) -> int:
    """Run the demo until Ctrl-C, SIGTERM, SIGHUP or ``quit``; return the exit code, 1 if a part failed.

    Raises ``BrokenPipeError`` when the reader of standard output has gone.

    The balancer listens on ``port`` of the loopback addresses, or on the next free one.
    """
    code, unread = 1, False
    try:
        with terminal_kept():
            code = trio.run(_run, port)
    except* BrokenPipeError:  # the reader has gone, as in `balancer demo | head -2`
        unread = True
    except* Refused as group:
        print(f"balancer demo: {group.exceptions[0]}", file=sys.stderr)
    if unread:  # not raised above: Python 3.11.2 puts what is raised there into a group
        raise BrokenPipeError
    return code


async def _run(port: int) -> int:
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals,
        tempfile.TemporaryDirectory(prefix="balancer-demo-") as folder,
    ):
        setup = make_setup(Path(folder), make_certificate(Path(folder)), port, HOSTS)
        if setup.port != port:
            print(f"Port {port} is in use; the balancer listens on {setup.port} instead.")
        demo = Demo(setup)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(demo.run, nursery.cancel_scope)
            nursery.start_soon(_end_unread, nursery.cancel_scope)
            await anext(signals)
            nursery.cancel_scope.cancel()
        print("\nThe demo has ended.")
        return demo.status


async def _end_unread(scope: trio.CancelScope) -> None:
    await output_unread()
    scope.cancel()


class Demo:
    """The running demo: its processes and its prompt."""

    def __init__(self, setup: DemoSetup) -> None:
        self.status = 0
        self._setup = setup
        self._ring = build(load(setup.config, time.time()).pool[0])
        self._running: dict[str, Child] = {}
        """The running hosts, by name."""
        self._prompt = Prompt((*texts.VERBS, *HOSTS, *NAMES))
        self._up = False

    async def run(self, scope: trio.CancelScope) -> None:
        """Run until cancelled. Cancels ``scope`` itself at ``quit``, or when the demo cannot go on."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._scope = nursery, scope
            for host in HOSTS:
                self._launch(host)
            daemon = Child("the balancer", "balancer", "--config", str(self._setup.config))
            nursery.start_soon(self._watch, daemon)
            await self._wait_until_up()
            print(texts.welcome(self._setup, await self._places(), is_interactive()), flush=True)
            if is_interactive():
                await self._read_commands()

    def _launch(self, host: str) -> None:
        address, folder = self._setup.hosts[host], self._setup.folder / host
        self._running[host] = Child(host, "balancer.demo.host", host, str(address), str(folder))
        self._nursery.start_soon(self._watch, self._running[host])

    async def _watch(self, child: Child) -> None:
        end = await child.run()
        self._running.pop(child.name, None)
        if child.stopping:
            return
        self._prompt.notify(f"{child.name} ended unexpectedly: {end}")
        if not self._up or child.name not in HOSTS:
            self._fail()

    def _fail(self) -> None:
        self.status = 1
        self._scope.cancel()

    async def _wait_until_up(self) -> None:
        with trio.move_on_after(START_TIMEOUT):
            for host in HOSTS:
                await self._wait_until_reached(host)
            self._up = True
            return
        self._prompt.notify(f"The balancer did not reach all hosts within {START_TIMEOUT:.0f} seconds.")
        self._fail()

    async def _wait_until_reached(self, host: str) -> None:
        """Wait until the balancer sends a token to ``host`` that the ring places there.

        The token is none of the demo users', whose open tabs might keep them elsewhere.
        """
        tokens = (f"nobody-{number}" for number in count())
        token = next(token for token in tokens if self._ring.owner(token.encode()) == host)
        while host in self._running and await self._host_of(token) != host:  # noqa: ASYNC110 (it changes in other processes)
            await trio.sleep(POLL_INTERVAL)

    async def _host_of(self, token: str) -> str | None:
        return await host_of(self._setup.port, self._setup.certificate.cert, token)

    async def _places(self) -> dict[str, str | None]:
        """The host that the balancer sends each user to now; None if it answers with an error."""
        return {name: await self._host_of(token_of(name)) for name in NAMES}

    async def _read_commands(self) -> None:
        async for line in self._prompt.lines():
            words = line.split()
            match words:
                case ["quit"]:
                    break
                case ["help"]:
                    print(texts.COMMANDS)
                case ["users"]:
                    print(texts.users(self._setup, await self._places()))
                case ["stop", host] if host in HOSTS:
                    await self._stop(host)
                case ["start", host] if host in HOSTS:
                    await self._start(host)
                case ["stop" | "start", host]:
                    print(f"There is no host {host!r}; the hosts are {', '.join(HOSTS)}.")
                case _ if verb := verb_of(words):
                    await self._operate(verb)
                case [other, *_] if other in texts.VERBS:
                    print(f"Usage:\n{texts.usage(other)}")
                case [other, *_]:
                    print(f"Unknown command {other!r}. The commands are:\n{texts.COMMANDS}")
        self._scope.cancel()

    async def _operate(self, verb: list[str]) -> None:
        before = await self._places()
        answer = await operate(verb, self._setup.config)
        print(texts.operated(shown(verb, self._setup.config), answer, before, await self._places()))

    async def _stop(self, host: str) -> None:
        if host not in self._running:
            return print(f"{host} is not running.")
        before = await self._places()
        await self._running[host].stop()
        print(texts.stopped(host, before, await self._places()))

    async def _start(self, host: str) -> None:
        if host in self._running:
            return print(f"{host} is already running.")
        self._launch(host)
        with trio.move_on_after(START_TIMEOUT) as scope:
            await self._wait_until_reached(host)
        if scope.cancelled_caught:
            print(f"The balancer did not reach {host} within {START_TIMEOUT:.0f} seconds.")
        elif host in self._running:
            print(texts.started(host, [name for name in NAMES if self._ring.owner(token_of(name).encode()) == host]))
