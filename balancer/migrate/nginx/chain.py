"""The blocks around a directive, and what is inherited from them."""

from collections.abc import Sequence

from balancer.migrate.nginx.source import Directive

Chain = Sequence[Directive]
"""Blocks around a directive, outermost first."""


def inherited(chain: Chain, *names: str) -> list[Directive]:
    """Return the directives with these names, in order, of the innermost block that has any."""
    for block in reversed(chain):
        if found := [each for each in block.block or () if each.name in names]:
            return found
    return []


def takes_address_from_field(chain: Chain) -> bool:
    """Return whether the client's address is taken from a header field, and not from the connection or PROXY header."""
    field = inherited(chain, "real_ip_header")
    return bool(inherited(chain, "set_real_ip_from")) and not (field and field[-1].args == ("proxy_protocol",))
