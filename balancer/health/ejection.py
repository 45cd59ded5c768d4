"""How long a backend stays out: longer with each failure, and shorter again the longer it works. Pure.

Some facts. A host that goes down and comes up again every few seconds passes its probes every few seconds, and would
move its users back and forth each time. Envoy multiplies ``base_ejection_time`` by the number of ejections, which falls
while the host is in; BGP has damped routes that flap in the same way (RFC 2439). Here one level counts the times a
backend was taken out lately, whether by probes or by real traffic, and falls by one for each ``most`` seconds that it
is in. The first time that probes take a host out, it may return as soon as it passes them: most hosts go down once and
come back well.
"""


class Ejection:
    """How long one backend has to stay out."""

    __slots__ = ("_in_since", "_level", "until", "why")

    def __init__(self) -> None:
        self._level = 0.0
        self._in_since = 0.0
        self.until = 0.0
        """When the last ejection ends, or ended."""
        self.why = ""

    def out(self, now: float) -> bool:
        """Return whether it has to stay out."""
        return now < self.until

    def level(self, now: float, most: float) -> float:
        """Return how often it was taken out lately; a fraction, as it falls with time."""
        return max(0.0, self._level - max(0.0, now - self._in_since) / most)

    def eject(self, why: str, now: float, base: float, most: float) -> None:
        """Take it out for ``base`` seconds times the level, this time included, but at most for ``most``."""
        self._take_out(why, now, base, most, also=1)

    def went_down(self, now: float, base: float, most: float) -> None:
        """Note that probes took it out. It stays out for ``base`` times the level before, even if it passes them."""
        times = round(self.level(now, most)) + 1
        self._take_out(f"kept out: it went down {times} times lately", now, base, most, also=0)

    def returned(self, now: float) -> None:
        """Note that it is in again, which may be later than ``until``."""
        self._in_since = max(self._in_since, now)

    def _take_out(self, why: str, now: float, base: float, most: float, *, also: int) -> None:
        level = self.level(now, most)
        until = now + min(most, base * (level + also))
        if until >= self.until:
            self.until, self.why = until, why
        self._level, self._in_since = min(level + 1, most / base + 1), self.until
