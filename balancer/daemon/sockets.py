"""The listeners' sockets: adopted from the service manager by address, or opened.

A socket of the service manager outlives this process, so a client who comes while the daemon restarts waits in its
backlog instead of being refused. That is also why the ones nobody wants deserve a warning: closing our copy leaves
clients waiting at the other.
"""

import logging
import socket
from collections import defaultdict
from contextlib import ExitStack
from ipaddress import ip_address

from balancer.config.model import Config
from balancer.config.scalars import Address
from balancer.errors import Refused
from balancer.net.listen import open_listener

logger = logging.getLogger("balancer.sockets")

_INTERNET = (socket.AF_INET, socket.AF_INET6)


def open_sockets(config: Config, handed: list[socket.socket]) -> list[list[socket.socket]]:
    """Every listener's sockets, in the order of the configuration; all or none. Those ``handed`` over are taken first.

    Raises ``OSError`` for an address that cannot be bound, ``Refused`` for a socket that cannot be adopted.
    """
    wanted = {address for listener in config.listener for address in listener.bind}
    with ExitStack() as stack:
        for sock in handed:
            stack.callback(sock.close)
        adopted = _by_address(handed, wanted)
        opened: list[list[socket.socket]] = []
        for listener in config.listener:
            opened.append([])
            for address in listener.bind:
                try:
                    sockets = adopted.pop(address, None) or [open_listener(address)]
                except OSError as error:
                    raise OSError(error.errno, error.strerror, f'listener "{listener.name}", {address}') from None
                for sock in sockets:
                    stack.callback(sock.close)
                opened[-1] += sockets
        stack.pop_all()
    return opened


def _by_address(handed: list[socket.socket], wanted: set[Address]) -> dict[Address, list[socket.socket]]:
    """Those that a listener wants, made ready; with SO_REUSEPORT several may share an address. The rest is closed."""
    adopted: dict[Address, list[socket.socket]] = defaultdict(list)
    for sock in handed:
        address = _address(sock)
        if address in wanted:
            _adopt(sock, address)
            adopted[address].append(sock)
        else:
            logger.warning(
                "the service manager hands over %s, which no listener binds: who connects there gets no answer; "
                "take it out of the socket unit, or add it to a listener",
                address or "a socket that does not listen for TCP connections",
            )
            sock.close()
    return adopted


def _address(sock: socket.socket) -> Address | None:
    """Where a socket listens, written as configurations have it; None if it takes no TCP connections."""
    if sock.family not in _INTERNET or sock.type != socket.SOCK_STREAM:
        return None
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    host, port = sock.getsockname()[:2]
    return Address(str(ip_address(host)), port)


def _adopt(sock: socket.socket, address: Address) -> None:
    if address.host == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        raise Refused(
            f"the service manager's socket for {address} takes IPv4 as well, and would show its clients as IPv6 ones: "
            "set BindIPv6Only=ipv6-only in the socket unit, and give IPv4 a ListenStream of its own"
        )
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
    logger.info("%s is a socket of the service manager", address)
