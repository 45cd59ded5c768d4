"""Requests of a pool by status class, and how long they took."""

from balancer.shared.histogram import Histogram

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; a page is served in milliseconds, and ``timeouts.response`` is a minute."""


class Traffic:
    """The requests of a pool by the class of their answers, and how long they took."""

    __slots__ = ("answers", "seconds")

    def __init__(self) -> None:
        self.answers = [0] * 10
        """Numbers by the first digit of the status; 0 is for requests without an answer."""
        self.seconds = Histogram(REQUEST_BOUNDS)
        """From the first byte of the request to the last of the answer, or to the 101 of a tunnel."""

    def note(self, status: int, seconds: float) -> None:
        """Count one request."""
        self.answers[status // 100] += 1
        self.seconds.note(seconds)

    def by_class(self) -> dict[str, int]:
        """Return the numbers of ``1xx`` to ``5xx`` and ``none``, and of others if there were any."""
        found = {f"{digit}xx": self.answers[digit] for digit in range(1, 10) if digit < 6 or self.answers[digit]}
        return {**found, "none": self.answers[0]}
