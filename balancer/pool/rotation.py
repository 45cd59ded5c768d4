"""Turns: whose turn it is among backends with weights, evenly spread over time.

Stride scheduling (Waldspurger and Weihl, 1995): a backend of weight 2 is due twice as often as one of weight 1, and not
twice in a row. With equal weights they follow each other in the order given.
"""

from collections.abc import Mapping
from heapq import heapify, heapreplace


class Rotation:
    """The turns of backends by their ``weights``, which are above 0."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._due = [(0.5 / weight, number, name, 1 / weight) for number, (name, weight) in enumerate(weights.items())]
        heapify(self._due)

    def next(self) -> str:
        """Return the name of the backend that is due, and count its turn."""
        due, number, name, stride = self._due[0]
        heapreplace(self._due, (due + stride, number, name, stride))
        return name
