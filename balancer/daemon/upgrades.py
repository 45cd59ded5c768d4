"""The supervisor's part in an upgrade, which has two halves, in two versions of this program:

1. The running version has the next one rehearse, and then executes it in its own process.
2. The next version adopts the children and tries itself out (``daemon.trial``). Once it is proven, the workers before
   are told to accept no more; if it fails, it executes the version before, which goes on as if nothing had been.

One upgrade at a time. What has become of it goes to control with each step.
"""

import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable

import trio
from msgspec.structs import replace

from balancer.daemon.execute import execute
from balancer.daemon.holdings import Holdings
from balancer.daemon.rehearse import rehearse
from balancer.daemon.signals import HANDLED
from balancer.daemon.stderr import GOODBYE_TIMEOUT, StderrWriter
from balancer.daemon.trial import Failed, Trial
from balancer.errors import Refused
from balancer.ipc.supervision import OUTCOMES, Begin, Door, Upgrade, UpgradeState, WantUpgrade
from balancer.shared.version import VERSION
from balancer.upgrade.release import Release, release_at
from balancer.upgrade.state import Handover

logger = logging.getLogger("balancer.supervisor")

SIGNAL_TURNS = 5
"""Turns of the loop in which signals that have come already are handled."""


class Upgrades:
    """``held`` is what is handed on; ``former`` what another version has handed over to us."""

    def __init__(self, held: Holdings, former: Handover | None) -> None:
        self.news = Upgrade(0) if former is None else former.upgrade
        """What has become of the last upgrade."""
        self.trial: Trial | None = None
        """Set while this version is on trial."""
        self._held = held
        self._former = former
        self._scope = trio.CancelScope()
        self._doors: list[tuple[Door, int]] = []
        """The admin API's sockets, for the control process that starts next."""
        if former is not None and former.back:
            self._doors = former.doors
            self._note("went back", problem=former.back)
            logger.error("upgrade to %s went back: %s", self.news.version, former.back)
        elif former is not None:
            self.trial = Trial(former.control, held, self.news, former.prove)

    @property
    def running(self) -> bool:
        """Whether one has begun and is not over."""
        return self.news.state in ("rehearsing", "running")

    async def open(self, nursery: trio.Nursery) -> None:
        """Try this version out, if it is on trial; tell a control process that was adopted how the upgrade went."""
        if self.trial is not None:
            nursery.start_soon(self.trial.keep_former)
            nursery.start_soon(self._try_out, self.trial)
        elif self._held.control.pid is not None:
            await self._held.control.tell(self.news)

    async def begin(self) -> None:
        """Have a control process serve that has just started, unless it is on trial."""
        if self.trial is None:
            doors, self._doors = self._doors, []
            await self._held.control.tell(Begin(tuple(door for door, _ in doors)), [fd for _, fd in doors])
            for _, fd in doors:
                os.close(fd)
            await self._held.workers.link_all()
            await self._held.control.tell(self.news)

    def cancel(self) -> None:
        """Give up what is running: the daemon stops."""
        self._scope.cancel()

    async def request(self, wanted: WantUpgrade) -> None:
        """Upgrade, or rehearse an upgrade."""
        release, held = release_at(wanted.release), self._held
        number, counts, control = self.news.number + 1, self.news.counts, held.control.pid
        self.news = Upgrade(number, who=wanted.who, before=VERSION, release=release.folder, counts=counts)
        self._scope = trio.CancelScope()
        with self._scope:
            await self._tell("rehearsing")
            try:
                if not held.workers.settled:
                    raise Refused("workers are still leaving after the last reload; try again in some seconds")
                findings = await rehearse(release, held.state(self.news, wanted.prove), wanted)
                self.news = replace(self.news, version=findings.version, notes=tuple(findings.notes))
                if wanted.dry_run:
                    await self._tell("rehearsed")
                    return
                await self._tell("running")
                logger.info("upgrade from %s to %s (%s), by %s", VERSION, findings.version, release.folder, wanted.who)
                held.manager.reloading()
                await _become(release, lambda: self._state_to_hand_on(control, wanted.prove))
            except Refused as error:
                logger.error("upgrade to %s, by %s, refused: %s", release.folder, wanted.who, error)
                await self._tell("refused", problem=str(error))

    async def _try_out(self, trial: Trial) -> None:
        assert self._former is not None
        with self._scope:
            try:
                await trial.run()
            except Failed as error:
                logger.error("version %s cannot take over: %s; going back to %s", VERSION, error, self.news.before)
                if os.access(self._former.release.python, os.X_OK):
                    await self._go_back(trial, self._former, str(error))
                logger.error("%s is gone: version %s goes on", self._former.release.python, VERSION)
                self._doors, trial.doors = trial.doors, []
                self._held.control.kill()  # the next one is not on trial
            self.trial = None
            trial.close()
            await self._tell("done")
            logger.info("version %s serves in place of %s", VERSION, self.news.before)

    async def _go_back(self, trial: Trial, former: Handover, problem: str) -> None:
        """End the processes of this version, and become the version before, which restarts what has ended meanwhile."""
        await trial.give_up()
        await _become(former.release, lambda: self._state_to_go_back(trial, former, problem))

    def _state_to_hand_on(self, control: int | None, prove: float) -> Handover:
        """Return what the next version takes over, among it the ``control`` process that asked for it.

        Another one may be starting, and ask for what the next version would not answer.
        """
        if self._held.control.pid != control:
            raise Refused("the control process has ended meanwhile; try again")
        return self._held.state(self.news, prove)

    def _state_to_go_back(self, trial: Trial, former: Handover, problem: str) -> Handover:
        """Return what the version before handed over, with what has changed since. Starts stay counted."""
        states = self._held.workers.states()
        now = {entry.number: entry.child for entry in states}
        starts = {entry.place: entry.child.starts for entry in states if entry.place is not None}
        boards = {board.fd for board in self._held.boards.states()}
        workers = []
        for entry in former.workers:
            child = now.get(entry.number, replace(entry.child, pid=None, channel=None))
            counted = child.starts if entry.place is None else max(child.starts, starts.get(entry.place, 0))
            workers.append(replace(entry, child=replace(child, starts=counted)))
        control = trial.former_state()
        control = replace(control, starts=max(control.starts, self._held.control.state().starts))
        return replace(
            former,
            workers=workers,
            boards=[board for board in former.boards if board.fd in boards],
            back=problem,
            control=control,
            doors=trial.doors,
        )

    async def _tell(self, state: UpgradeState, problem: str = "") -> None:
        self._note(state, problem)
        await self._held.control.tell(self.news)

    def _note(self, state: UpgradeState, problem: str = "") -> None:
        counts = Counter(self.news.counts)
        if state in OUTCOMES:
            counts[state] += 1
        self.news = replace(self.news, state=state, problem=problem, since=time.time(), counts=dict(counts))


async def _become(release: Release, state: Callable[[], Handover]) -> None:
    """Become another version. Raise ``Refused`` if that is impossible, and then nothing has changed.

    ``state`` is called last, as the channel of a child that ends until then is closed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # what comes from here on is for the other version
    try:
        for _ in range(SIGNAL_TURNS):
            await trio.lowlevel.checkpoint()
        if isinstance(sys.stderr, StderrWriter):
            sys.stderr.wait(GOODBYE_TIMEOUT)
        execute(release, state())
    except OSError as error:
        raise Refused(f"{release.python} cannot be executed: {error.strerror}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
