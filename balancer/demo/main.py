"""``balancer demo``: three IDE hosts and a balancer in front of them, nothing to configure, nothing left behind."""

import signal
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import trio

from balancer.config.load import load
from balancer.demo import texts
from balancer.demo.ask import ask
from balancer.demo.certificate import make_certificate
from balancer.demo.child import Child
from balancer.demo.prompt import typed_lines
from balancer.demo.setup import Setup, make_setup
from balancer.demo.users import NAMES, token_of
from balancer.errors import Refused
from balancer.ring.build import build

HOSTS = ("ide-01", "ide-02", "ide-03")
START_TIME = 20.0
"""Seconds for everything to be up."""
POLL_TIME = 0.05
"""Seconds between two looks at what is starting."""


def run_demo(port: int = 8443) -> int:
    """Run the demo until Ctrl-C, SIGTERM, SIGHUP or ``quit``; the exit code (1: it could not start, or broke).

    ``port``: where the balancer listens on the loopback addresses; if it is taken, the next free one.
    """
    try:
        return trio.run(_run, port)
    except Refused as error:
        print(f"balancer demo: {error}", file=sys.stderr)
        return 1


async def _run(port: int) -> int:
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals,
        tempfile.TemporaryDirectory(prefix="balancer-demo-") as folder,
    ):
        setup = make_setup(Path(folder), make_certificate(Path(folder)), port, HOSTS)
        if setup.port != port:
            print(f"Port {port} is taken: the balancer listens on {setup.port} instead.")
        demo = Demo(setup)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(demo.run, nursery.cancel_scope)
            await anext(signals)
            nursery.cancel_scope.cancel()
        print("\nThe demo has ended.")
        return demo.status


class Demo:
    """The running demo: its processes, and who lands where."""

    def __init__(self, setup: Setup) -> None:
        self.status = 0
        self._setup = setup
        self._ring = build(load(setup.config, time.time()).pool[0])
        self._running: dict[str, Child] = {}
        """The hosts that run, by name."""
        self._up = False

    async def run(self, scope: trio.CancelScope) -> None:
        """Run until cancelled, or until there is no reason to go on: then ``scope`` is cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._scope = nursery, scope
            for host in HOSTS:
                self._launch(host)
            daemon = Child("the balancer", "balancer", "--config", str(self._setup.config))
            nursery.start_soon(self._watch, daemon)
            await self._wait_until_up()
            interactive = sys.stdin.isatty()
            print(texts.welcome(self._setup, await self._places(), interactive), flush=True)
            if interactive:
                await self._converse()

    def _launch(self, host: str) -> None:
        address, folder = self._setup.hosts[host], self._setup.folder / host
        self._running[host] = Child(host, "balancer.demo.host", host, str(address), str(folder))
        self._nursery.start_soon(self._watch, self._running[host])

    async def _watch(self, child: Child) -> None:
        end = await child.run()
        self._running.pop(child.name, None)
        if child.stopping:
            return
        self._say(f"{child.name} ended by itself: {end}")
        if not self._up or child.name not in HOSTS:
            self._give_up()

    def _give_up(self) -> None:
        self.status = 1
        self._scope.cancel()

    async def _wait_until_up(self) -> None:
        with trio.move_on_after(START_TIME):
            for host in HOSTS:
                await self._wait_until_reached(host)
            self._up = True
            return
        self._say(f"The balancer did not reach all hosts within {START_TIME:.0f} seconds.")
        self._give_up()

    async def _wait_until_reached(self, host: str) -> None:
        """Until the balancer sends ``host`` a token that the ring puts there: a token of nobody, who has no tabs."""
        tokens = (f"nobody-{number}" for number in count())
        token = next(token for token in tokens if self._ring.owner(token.encode()) == host)
        while host in self._running and await self._ask(token) != host:  # noqa: ASYNC110 (it changes in other processes)
            await trio.sleep(POLL_TIME)

    async def _ask(self, token: str) -> str | None:
        return await ask(self._setup.port, self._setup.certificate.cert, token)

    async def _places(self) -> dict[str, str | None]:
        """Which host the balancer sends each user to now; None where it answers with an error."""
        return {name: await self._ask(token_of(name)) for name in NAMES}

    async def _converse(self) -> None:
        print(texts.PROMPT, end="", flush=True)
        async for line in typed_lines(sys.stdin.fileno()):
            match line.split():
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
                case [("stop" | "start") as verb, *_]:
                    print(f"{verb} which host? There are {', '.join(HOSTS)}.")
                case [other, *_]:
                    print(f"There is no command {other!r} here.\n{texts.COMMANDS}")
            print(texts.PROMPT, end="", flush=True)
        self._scope.cancel()

    async def _stop(self, host: str) -> None:
        if host not in self._running:
            return print(f"{host} does not run.")
        before = await self._places()
        await self._running[host].stop()
        print(texts.stopped(host, before, await self._places()))

    async def _start(self, host: str) -> None:
        if host in self._running:
            return print(f"{host} runs already.")
        self._launch(host)
        with trio.move_on_after(START_TIME) as patience:
            await self._wait_until_reached(host)
        if patience.cancelled_caught:
            print(f"The balancer did not reach {host} within {START_TIME:.0f} seconds.")
        elif host in self._running:
            print(texts.started(host, [name for name in NAMES if self._ring.owner(token_of(name).encode()) == host]))

    def _say(self, text: str) -> None:
        """Tell what happened by itself; what is being typed moves down one line."""
        print(f"\r{text}" + (f"\n{texts.PROMPT}" if self._up and sys.stdin.isatty() else ""), flush=True)
