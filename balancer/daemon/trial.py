"""The trial of a version that has just taken over, while the one before goes on serving.

A new control process starts beside the former one and gets everything ready; then the former hands over the admin API's
sockets and the state directory, so that operators wait for a moment at most. The new workers get the same listening
sockets as those before, but accept nobody until they have been ready for a while and have answered requests of their
own. Whatever fails until then, the version before goes on: none of its workers has been told to leave.
"""

import os
from collections.abc import Iterable

import trio

from balancer.daemon.child import ChildOwner, ChildProcess
from balancer.daemon.holdings import Holdings
from balancer.ipc.supervision import Answering, Begin, Door, HandedOver, HandOver, Proven, Stop, Upgrade, Warm
from balancer.ipc.wire import Message
from balancer.upgrade.state import ChildState

WARM_TIMEOUT = 60.0
"""Seconds within which the new control process has to be ready to take over."""
HAND_OVER_TIMEOUT = 10.0
"""Seconds within which the former control process has to hand over, and then the new one to answer operators."""
READY_TIMEOUT = 60.0
"""Seconds within which the new workers have to be ready, beside those for which they are watched."""
GIVE_UP_TIMEOUT = 2.0
"""Seconds within which a new control process that has failed may still answer operators."""
LOOK_EVERY = 0.1
"""Seconds between two looks at the processes."""


class Failed(Exception):
    """The version cannot take over; the message says why."""


class Trial(ChildOwner):
    """``former`` is the control process before, if it runs; ``held`` has the new one and the workers."""

    def __init__(self, former: ChildState, held: Holdings, upgrade: Upgrade, prove: float) -> None:
        self.doors: list[tuple[Door, int]] = []
        """What the former control process has handed over."""
        self._held = held
        self._upgrade = upgrade
        self._prove = prove
        self._heard: dict[type[Message], Message] = {}
        self._news = trio.Event()
        self._asked = False
        """The former control process has been asked to hand over, and ends sooner or later."""
        self._former = ChildProcess("former control", held.release, "", (), (), self)
        self._former.wanted = False
        self._former.adopt(former)

    async def keep_former(self) -> None:
        """Look after the former control process."""
        await self._former.keep()

    async def run(self) -> None:
        """Return when the new version is proven. Raise ``Failed`` if it is not."""
        control, former = self._held.control, self._former
        await self._expect(Warm, WARM_TIMEOUT, "the new control process is not ready")
        if former.pid is not None:
            self._asked = True
            await former.tell(HandOver())
            await self._expect(HandedOver, HAND_OVER_TIMEOUT, "the former control process does not hand over")
        doors, fds = tuple(door for door, _ in self.doors), [fd for _, fd in self.doors]
        await control.tell(Begin(doors, self._prove), fds)
        await control.tell(self._upgrade)
        await self._held.workers.link_all()
        await self._expect(Answering, HAND_OVER_TIMEOUT, "the new control process does not answer operators")
        await former.tell(Stop())
        proven = await self._expect(Proven, READY_TIMEOUT + self._prove, "the new workers are not ready")
        assert isinstance(proven, Proven)
        if proven.problem:
            raise Failed(proven.problem)

    async def give_up(self) -> None:
        """End the processes of the new version, and the former control process unless it goes on serving."""
        control = self._held.control
        leaving = [control, *self._held.workers.present()]
        self._heard.pop(HandedOver, None)
        if self._asked:
            leaving.append(self._former)
        if Answering in self._heard and control.pid is not None:  # operators are to get their answers
            await control.tell(HandOver())
            with trio.move_on_after(GIVE_UP_TIMEOUT):
                while HandedOver not in self._heard and control.pid is not None:
                    await self._next()
        for child in leaving:
            child.wanted = False
        while not all(child.over for child in leaving):
            for child in leaving:
                child.kill()  # also one that was being started just now
            await trio.sleep(LOOK_EVERY / 5)

    def former_state(self) -> ChildState:
        """Return the former control process, which does not run any more if it does not serve."""
        return self._former.state()

    def hear(self, message: Message, fds: Iterable[int] = ()) -> None:
        """Note what the new control process says; the sockets that it hands back are here already."""
        for fd in fds:
            os.close(fd)
        self._heard[type(message)] = message
        self._news.set()

    def close(self) -> None:
        """Close the sockets of the admin API, which the new control process has as well; end the former one."""
        self._former.kill()
        for _, fd in self.doors:
            os.close(fd)
        self.doors = []

    async def child_started(self, child: ChildProcess) -> None:
        raise AssertionError("the former control process is not started again")

    async def child_ended(self, child: ChildProcess) -> None:
        self.hear(HandedOver())

    async def child_said(self, child: ChildProcess, message: Message, fds: list[int]) -> None:
        if isinstance(message, HandedOver):
            self.doors = list(zip(message.doors, fds, strict=False))
            self.hear(message)

    async def _expect(self, kind: type[Message], seconds: float, problem: str) -> Message:
        """Return the message of this kind, once it has come."""
        with trio.move_on_after(seconds):
            while kind not in self._heard:
                for child in (self._held.control, *self._held.workers.present()):
                    if child.last_end:
                        raise Failed(f"{child.name} of the new version ended: {child.last_end}")
                await self._next()
            return self._heard[kind]
        raise Failed(f"{problem} after {seconds:g} s")

    async def _next(self) -> None:
        """Wait for the next message; return after a moment in any case, as a process may have ended."""
        self._news = trio.Event()
        with trio.move_on_after(LOOK_EVERY):
            await self._news.wait()
