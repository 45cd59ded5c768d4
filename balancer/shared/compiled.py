"""Whether the data plane is compiled (by mypyc, see setup.py), and what its sources need to say to the compiler."""

import importlib.util
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64 as i64
    from mypy_extensions import mypyc_attr as mypyc_attr
else:  # only the compiler knows the difference
    i64 = int
    """An integer of 64 bits, in a register: loops over bytes take a twentieth of the time with it."""

    def mypyc_attr(**_: object) -> object:
        """Tell the compiler something about a class."""
        return lambda cls: cls


def build() -> str:
    """Return ``compiled`` or ``pure``: which build of the data plane this process runs."""
    spec = importlib.util.find_spec("balancer.net.engine")
    assert spec is not None
    return "pure" if spec.origin is None or spec.origin.endswith(".py") else "compiled"


COMPILED: Final = build() == "compiled"
"""Modules that read bytes in two forms choose theirs by this: the loop if compiled, else the regular expression."""
