"""Choose which sockets of a SO_REUSEPORT group get new connections (socket(7), linux/filter.h).

The kernel chooses by the hash of the connection among all sockets of the group. A program of classic BPF, which needs
no privilege, may choose instead: what it returns is the number of a socket, in the order in which they began to listen.
"""

import ctypes
import socket
import struct

_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68
_INSTRUCTION = struct.Struct("HBBI")
"""``struct sock_filter``: code, two offsets of jumps, operand."""
_PROGRAM = struct.Struct("HP")
"""``struct sock_fprog``: number of instructions, and where they are."""
_LOAD_ABSOLUTE, _MODULO, _RETURN_A = 0x20, 0x94, 0x16
_RANDOM = 0xFFFFF000 + 56
"""``SKF_AD_OFF + SKF_AD_RANDOM``: a random number instead of bytes of the packet."""


def prefer_first(sock: socket.socket, number: int) -> None:
    """Deal new connections out at random among the first ``number`` sockets of the group. Raises ``OSError``."""
    steps = [(_LOAD_ABSOLUTE, _RANDOM), (_MODULO, number), (_RETURN_A, 0)]
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(each, 0, 0, operand) for each, operand in steps))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, _PROGRAM.pack(len(steps), ctypes.addressof(code)))


def prefer_none(sock: socket.socket) -> None:
    """Deal new connections out among all sockets of the group again. Raises ``OSError``, also if they were."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
