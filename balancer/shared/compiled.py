"""Whether the data plane is compiled (by mypyc, see setup.py), and what its sources need to say to the compiler."""

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:  # only the compiler reads it

    def mypyc_attr(**_: object) -> object:
        """Tell the compiler something about a class."""
        return lambda cls: cls


def build() -> str:
    """Return ``compiled`` or ``pure``: which build of the data plane this process runs."""
    spec = importlib.util.find_spec("balancer.net.engine")
    assert spec is not None
    return "pure" if spec.origin is None or spec.origin.endswith(".py") else "compiled"
