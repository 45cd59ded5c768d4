"""Functions that are imported when they are called.

Parsers of all verbs are built at each start, and the shell waits for `balancer completion` at each press of Tab. So the
modules with parsers import nothing large; what only one verb needs (pydantic, trio, cryptography) comes with its run.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def late(name: str) -> Callable[..., Any]:
    """Return a function that imports ``name``, such as ``"cli.check:run"``, when called, and calls it."""
    module, _, function = name.partition(":")
    return lambda *args, **options: getattr(import_module(f"balancer.{module}"), function)(*args, **options)
