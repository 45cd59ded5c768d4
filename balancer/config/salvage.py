"""A document with wrong values, made right enough for the rules between the others to be checked in the same go.

Every wrong value is taken out, so that its default holds; one without a default gets a stand-in. What is then said
about taken-out or stand-in values is hearsay, and dropped by whoever asks the rules.
"""

import copy
from typing import Any

from balancer.config.finding import Key

_STAND_IN: dict[str, Any] = {
    "listener": [
        {
            "name": "stand-in",
            "bind": ["127.0.0.1:0"],
            "pool": "stand-in",
            "tls": {"certificates": [{"cert": "stand-in", "key": "stand-in"}]},
            "route": [{"pool": "stand-in"}],
        }
    ],
    "pool": [{"name": "stand-in", "backend": [{"name": "stand-in", "address": "127.0.0.1:1"}]}],
}
"""The smallest document with every key that is required somewhere."""


def mend(document: dict[str, Any], broken: list[Key]) -> None:
    """Replace or remove the value of each ``broken`` key in place; keys inside replaced values are gone already."""
    for key in broken:
        value = _find(_STAND_IN, tuple(0 if isinstance(part, int) else part for part in key))
        if value is None:  # of an optional array, one wrong element takes out the whole
            key = key[: max(i for i, part in enumerate(key) if isinstance(part, str)) + 1]
        holder, last = _find(document, key[:-1]), key[-1]
        if isinstance(holder, list) and isinstance(last, int):
            holder[last] = copy.deepcopy(value)
        elif isinstance(holder, dict) and value is None:
            holder.pop(last, None)
        elif isinstance(holder, dict):
            holder[last] = copy.deepcopy(value)


def _find(document: object, key: Key) -> object:
    for part in key:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int):
            document = document[part]
        else:
            return None
    return document
