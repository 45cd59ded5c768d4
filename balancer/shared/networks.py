"""A set of networks, to ask whether an address belongs to one of them."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network


class Networks:
    """Networks in CIDR notation; a single address is a network too."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(map(ip_network, networks))

    def __contains__(self, address: str) -> bool:
        if not self._networks:  # what most are: an address is parsed only where it has to be
            return False
        parsed = ip_address(address)
        return any(parsed in network for network in self._networks)
