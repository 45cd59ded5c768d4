"""How long a backend stays out: longer each time it has to go, and less again while it behaves. Pure.

Some facts. A host that goes down and comes up again every few seconds passes its probes every few seconds, and would
take its users to and fro each time. Envoy multiplies ``base_ejection_time`` by the number of ejections, which falls
while the host is in; BGP has damped routes that flap in the same way (RFC 2439). Here one level counts the times a
backend went lately, whether probes or real traffic sent it, and falls by one in every ``most`` seconds it is in. The
first time that probes take a host out it may return as soon as they let it: most hosts go down once and come back well.
"""


class Ejection:
    """The state of one backend."""

    __slots__ = ("_in_since", "_level", "until", "why")

    def __init__(self) -> None:
        self._level = 0.0
        self._in_since = 0.0
        self.until = 0.0
        """When the last time out ends, or ended."""
        self.why = ""

    def out(self, now: float) -> bool:
        """Has it to stay out?"""
        return now < self.until

    def level(self, now: float, most: float) -> float:
        """How often it went lately."""
        return max(0.0, self._level - max(0.0, now - self._in_since) / most)

    def eject(self, why: str, now: float, base: float, most: float) -> None:
        """It goes for ``base`` seconds, times the level with this one, ``most`` at most."""
        self._go(why, now, base, most, also=1)

    def went_down(self, now: float, base: float, most: float) -> None:
        """Probes took it out: should they let it return soon, it stays out for ``base`` times the level before."""
        times = round(self.level(now, most)) + 1
        self._go(f"kept out: it went down {times} times lately", now, base, most, also=0)

    def returned(self, now: float) -> None:
        """It is in again, which may be later than ``until``."""
        self._in_since = max(self._in_since, now)

    def _go(self, why: str, now: float, base: float, most: float, *, also: int) -> None:
        level = self.level(now, most)
        until = now + min(most, base * (level + also))
        if until >= self.until:
            self.until, self.why = until, why
        self._level, self._in_since = min(level + 1, most / base + 1), self.until
