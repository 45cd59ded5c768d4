"""Machines of their own, as far as sockets see: network namespaces of Linux, on one wire (network_namespaces(7)).

A thread can be in one: sockets it opens meanwhile, and programs it starts, belong there for good. So a test is on one
machine for the length of a ``with``, and on its own again after it; of its tools nothing has to know.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess

import pytest

_NEWNET = 0x40000000
"""CLONE_NEWNET of sched.h; ``os.setns`` and ``os.unshare`` came with Python 3.12."""
_LIBC = ctypes.CDLL(None, use_errno=True)

_NEEDED = """
ip link add wire type bridge; ip link set wire up
ip link add probe type veth; ip link delete probe
nft 'add table inet probe; add chain inet probe in { type nat hook prerouting priority -100; };
     add rule inet probe in fib daddr type local tcp dport 1 redirect to :2; delete table inet probe'
"""


def _call(function, *args):
    if function(*args):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _present():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Machine:
    """A machine without a wire; ``with machine:`` is on it. Raises ``OSError`` for those who may not have one."""

    def __init__(self):
        self._before = []
        before = _present()
        try:
            _call(_LIBC.unshare, _NEWNET)
            self._descriptor = _present()
            _call(_LIBC.setns, before, _NEWNET)
        finally:
            os.close(before)
        with self:
            sh("ip link set lo up")

    def __enter__(self):
        self._before.append(_present())
        _call(_LIBC.setns, self._descriptor, _NEWNET)
        return self

    def __exit__(self, *_):
        before = self._before.pop()
        _call(_LIBC.setns, before, _NEWNET)
        os.close(before)

    @property
    def path(self):
        """How ``ip`` takes it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self):
        """Off; the last program on it takes it along."""
        os.close(self._descriptor)


def sh(script):
    """Commands of an operator, one that fails is an error."""
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def wired(count):
    """So many machines on a wire, 192.0.2.N/24 and 2001:db8::N/64 from 1 on. Skips where there can be none."""
    needed = ("ip", "nft", "sh")
    if missing := [each for each in needed if shutil.which(each) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    with contextlib.ExitStack() as stack:
        try:
            wire, *machines = [stack.enter_context(contextlib.closing(Machine())) for _ in range(count + 1)]
        except OSError as error:
            pytest.skip(f"no network namespaces: {error.strerror}")
        with wire:
            tried = subprocess.run(["sh", "-ec", _NEEDED], capture_output=True, text=True, check=False)
            if tried.returncode:
                pytest.skip(f"the kernel has not what is needed: {tried.stderr}")
            for number, machine in enumerate(machines, start=1):
                sh(f"ip link add port{number} type veth peer name eth0 netns {machine.path}")
                sh(f"ip link set port{number} master wire up")
        for number, machine in enumerate(machines, start=1):
            with machine:
                sh(f"ip address add 192.0.2.{number}/24 dev eth0")
                sh(f"ip address add 2001:db8::{number}/64 dev eth0 nodad; ip link set eth0 up")
        yield machines
