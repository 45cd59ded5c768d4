"""Repair a document with invalid values, so that the rules between the other keys can be checked in the same run.

Invalid values are removed, so that the default applies; those without a default are replaced by a stand-in. The caller
drops findings that depend on removed or replaced values.
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
    "pool": [
        {
            "name": "stand-in",
            "token": {"fallback": [{"source": "query"}]},
            "backend": [{"name": "stand-in", "address": "127.0.0.1:1"}],
        }
    ],
}
"""The smallest document with every key that is required in some table."""


def repair(document: dict[str, Any], broken: list[Key]) -> None:
    """Replace or remove the value of each ``broken`` key in place; keys inside replaced values are ignored."""
    for key in broken:
        value = _find(_STAND_IN, tuple(0 if isinstance(part, int) else part for part in key))
        if value is None:  # one invalid element removes the whole optional array
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
            if part != 0:  # else it stands for an array of one table
                document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int):
            document = document[part]
        else:
            return None
    return document
