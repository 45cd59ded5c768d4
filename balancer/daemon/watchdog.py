"""Decide when a process hangs. Pure: heartbeats and looks go in, with their time in seconds on one monotonic clock.

Some facts. On a machine with more to do than processors, a healthy process is silent because it is not given any: to
kill it then costs its connections and makes the load worse, as its replacement has to import everything anew. Linux
says how long a thread has run and how long it waited on a run queue (``/proc/PID/task/TID/schedstat``), and whether it
is runnable now (``stat``); a thread that a quota of its cgroup holds back is runnable and, in the meantime, adds to
neither. haproxy counts only the CPU time its thread has used, so it never kills the starved, nor one that sleeps in a
system call for good. We kill for both, each with a limit of its own:

- Silence is the time since the last heartbeat in which no thread of the process ran or wanted to run. A process that is
  stopped, deadlocked or stuck in a system call reaches ``hang``. One that waits for a processor never does.
- A process that runs without a heartbeat is in an endless loop, or in a step that should never have been so long. It
  has ``BUSY_FACTOR`` times as much, counted as CPU time, because a slow step is no proof of an endless one.

Until the first heartbeat the limit is ``FIRST_HEARTBEAT``, if that is more: Python imports hundreds of files, perhaps
from a slow disk. Our own absence is not the child's: whatever time has passed between two looks, they count for at
most ``LONGEST_STEP``.
"""

from dataclasses import dataclass

LOOK_EVERY = 0.25
"""Seconds between two looks."""
LONGEST_STEP = 2 * LOOK_EVERY
"""Most seconds that one look adds to the silence."""
FIRST_HEARTBEAT = 60.0
"""Seconds a process may take to its first heartbeat."""
BUSY_FACTOR = 6.0
"""How many times longer a process may run without a heartbeat than be silent."""


@dataclass(frozen=True)
class CpuUse:
    """CPU use of all threads of a process since its start."""

    ran: float
    """Seconds of CPU time."""
    waited: float
    """Seconds on a run queue, up to the last time a thread was given a processor."""
    runnable: bool
    """A thread is running or waits for a processor at this moment."""


class Watchdog:
    """Watches one process. ``hang`` is in seconds and may change at any time."""

    def __init__(self, hang: float, now: float) -> None:
        self.hang = hang
        self.last_heartbeat = now
        """When that was; the start of the process until there was one."""
        self.silent = 0.0
        """Seconds since then in which the process neither ran nor waited for a processor."""
        self.ran = 0.0
        """Seconds of CPU time since the first look after it."""
        self.waited = 0.0
        """Seconds waited for a processor since that look."""
        self._started = False
        self._looked = now
        self._heard_since = True
        self._use: CpuUse | None = None

    @property
    def limit(self) -> float:
        """Seconds of silence after which it hangs."""
        return self.hang if self._started else max(self.hang, FIRST_HEARTBEAT)

    @property
    def hung(self) -> bool:
        """Whether the process must be killed."""
        return self.silent >= self.limit or self.ran >= BUSY_FACTOR * self.limit

    @property
    def quiet(self) -> bool:
        """Whether no heartbeat has come since the last look, so that the next one needs to know the CPU use."""
        return not self._heard_since

    def heartbeat(self, now: float) -> None:
        """Note a heartbeat."""
        self._started = self._heard_since = True
        self.last_heartbeat = now
        self.silent = self.ran = self.waited = 0.0
        self._use = None

    def look(self, now: float, use: CpuUse | None) -> None:
        """Note the CPU use at this moment; None if it cannot be known, and then all time is silence."""
        passed = min(now - self._looked, LONGEST_STEP)
        self._looked = now
        if self._heard_since:  # heartbeats come about as often as looks: silence begins at the second one without
            self._heard_since = False
        elif use is None:
            self.silent += passed
        elif self._use is not None:
            ran = max(0.0, use.ran - self._use.ran)  # the sum falls when a thread ends
            waited = max(0.0, use.waited - self._use.waited)
            self.ran += ran
            self.waited += waited
            if not use.runnable:
                self.silent += max(0.0, passed - ran - waited)
        self._use = use

    def report(self, now: float) -> str:
        """Describe how a process hangs, for the log."""
        since = now - self.last_heartbeat
        which = "no heartbeat" if self._started else "no first heartbeat"
        return f"{which} for {since:.1f} s (CPU used {self.ran:.1f} s, waiting for CPU {self.waited:.1f} s)"
