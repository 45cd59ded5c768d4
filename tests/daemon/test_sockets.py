"""Socket activation: the real daemon with sockets somebody else has opened, and keeps."""

import errno
import os
import re
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from harness import listener, pool
from hypothesis import given
from hypothesis import strategies as st
from manager_rig import Unit, connect, listening
from wire import answer, get

from balancer.config.scalars import Address
from balancer.daemon.sockets import Sockets
from balancer.daemon.systemd import handed_sockets
from balancer.errors import InUse, Refused
from balancer.net.bind import refusal


def served(client, backend):
    """The request of a client that waits is answered."""
    peer = backend.accept()
    peer.request()
    peer.send(answer(b"here", "Connection: close"))
    return client.response().body == b"here"


def test_adopts_by_address_and_opens_the_rest(tmp_path, backend):
    with ExitStack() as stack:
        four, four_address = stack.enter_context(listening())
        six, six_address = stack.enter_context(listening("::1"))
        listeners = [listener("a", ["127.0.0.1:0", six_address]), listener("b", [four_address])]
        unit = Unit(tmp_path, handed=[four, six], listener=listeners, pool=[pool(backend)])
        stack.enter_context(unit)
        own, *adopted = unit.accepts(3)
        assert adopted == [six_address, four_address]
        for address in (own, *adopted):
            with connect(address) as client:
                client.send(get())
                assert served(client, backend)
        unit.stop()


def test_adopted_sockets_are_as_good_as_its_own(tmp_path, backend):
    with (
        listening() as (sock, address),
        Unit(tmp_path, handed=[sock], listener=[listener(bind=[address])], pool=[pool(backend)]) as unit,
    ):
        unit.accepts()
        assert not os.get_blocking(sock.fileno())
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{unit.process.pid}/fdinfo/3").read_text())[1]
        assert int(flags, 8) & os.O_CLOEXEC, "its children would hold the socket as well"
        unit.stop()


def test_a_restart_loses_no_connection_attempt(tmp_path, backend):
    with listening() as (sock, address):
        for _ in range(2):
            with connect(address) as early:
                early.send(get())
                with Unit(tmp_path, handed=[sock], listener=[listener(bind=[address])], pool=[pool(backend)]) as unit:
                    assert served(early, backend)
                    unit.stop()


def test_several_sockets_of_one_address(tmp_path, backend):
    with listening(reuse_port=True) as (one, address), socket.socket() as other, ExitStack() as stack:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(one.getsockname())
        other.listen()
        unit = Unit(tmp_path, handed=[one, other], listener=[listener(bind=[address])], pool=[pool(backend)])
        with unit:
            assert unit.accepts(2) == [address, address]
            for client in [stack.enter_context(connect(address)) for _ in range(20)]:  # the kernel deals them out
                client.send(get())
                assert served(client, backend)
                client.close()


def test_wildcards(tmp_path, backend):
    with ExitStack() as stack:
        handed = [stack.enter_context(listening(host)) for host in ("0.0.0.0", "::")]
        sockets, addresses = zip(*handed, strict=True)
        unit = stack.enter_context(
            Unit(tmp_path, handed=sockets, listener=[listener(bind=addresses)], pool=[pool(backend)])
        )
        assert unit.accepts(2) == list(addresses)
        for host, (sock, _) in zip(("127.0.0.1", "[::1]"), handed, strict=True):
            with connect(f"{host}:{sock.getsockname()[1]}") as client:
                client.send(get())
                assert served(client, backend)
        unit.stop()


def test_refuses_an_ipv6_socket_that_takes_ipv4(tmp_path, backend):
    with (
        listening("::", dualstack_ipv6=True) as (sock, address),
        Unit(tmp_path, handed=[sock], listener=[listener(bind=[address])], pool=[pool(backend)]) as unit,
    ):
        assert f"socket for {address} takes IPv4 as well" in (said := unit.failed())
        assert "BindIPv6Only=ipv6-only" in said


def test_warns_of_sockets_no_listener_binds(tmp_path, backend):
    with ExitStack() as stack:
        stray, address = stack.enter_context(listening())
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        mute = stack.enter_context(socket.socket())
        mute.bind(("127.0.0.1", 0))
        handed = [stray, datagrams, local, mute]
        unit = stack.enter_context(Unit(tmp_path, handed=handed, listener=[listener()], pool=[pool(backend)]))
        unit.accepts()
        lines = [line for line in str(unit.stderr).splitlines() if "hands over" in line]
        assert [line[:3] for line in lines] == ["<4>"] * 4
        assert f"hands over {address}, which no listener binds" in lines[0]
        assert "take it out of the socket unit, or add it to a listener" in lines[0]
        assert all("does not listen for TCP connections" in line for line in lines[1:])
        held = {os.readlink(each) for each in descriptors(unit.process.pid)}
        assert not held & {f"socket:[{os.fstat(sock.fileno()).st_ino}]" for sock in handed}
        unit.stop()


def descriptors(pid):
    return [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]


def test_warns_of_what_is_no_socket(tmp_path, backend):
    with (
        open(os.devnull) as file,
        listening() as (sock, address),
        Unit(tmp_path, handed=[file, sock], listener=[listener(bind=[address])], pool=[pool(backend)]) as unit,
    ):
        assert unit.accepts() == [address]
        assert 'descriptor 3 ("unit-0") is of no use: Socket operation on non-socket' in str(unit.stderr)
        unit.stop()


def test_leaves_alone_what_is_for_another_process(tmp_path, backend):
    with (
        listening() as (sock, address),
        Unit(tmp_path, handed=[sock], owner=1, listener=[listener(bind=[address])], pool=[pool(backend)]) as unit,
    ):
        assert "Address already in use" in unit.failed()


@given(
    st.dictionaries(
        st.sampled_from(["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "HOME"]),
        st.sampled_from(["", "0", "-1", "1.5", "x", "²", str(os.getpid())]),
    ).filter(lambda environ: environ.get("LISTEN_FDS") != str(os.getpid()))
)
def test_removes_the_variables_and_believes_no_nonsense(environ):
    rest = {name: value for name, value in environ.items() if name == "HOME"}
    assert handed_sockets(environ) == []
    assert environ == rest


def test_an_address_that_cannot_be_had_comes_with_advice():
    with socket.create_server(("127.0.0.1", 0)) as taken, closing(Sockets([])) as sockets:
        for address, words in (
            (Address(*taken.getsockname()), "Address already in use; another program listens there: `ss -ltnp`"),
            (Address("192.0.2.1", 443), "this machine does not have that address"),
        ):
            with pytest.raises(Refused, match=words):
                sockets.prepare({"web": address}, 1)
        assert "CAP_NET_BIND_SERVICE" in str(refusal("web", PermissionError(errno.EACCES, "Permission denied")))
        assert str(refusal("web", OSError(errno.EIO, "?"))) == "web: ?"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_trial_leaves_nothing_behind_and_lets_nobody_connect(host):
    with closing(Sockets([])) as sockets, listening(host) as (_, address):
        taken = Address(host, int(address.rpartition(":")[2]))
        with pytest.raises(InUse):
            sockets.attempt({address: taken})
        sockets.prepare({"a": Address(host, 0)}, 2)
        sockets.commit(2)
        own = sockets.of(0)
        sockets.attempt({"a": Address(host, 0), "b": Address(host, 0)})
        assert not sockets.preparing
        assert sockets.of(0) == own
