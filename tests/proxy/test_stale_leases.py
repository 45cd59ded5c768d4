"""A user holds a lease on a backend that is not to be used any more."""

import pytest
from playbooks import ASKED, GET, OK, SWITCHING, UPGRADE
from proxy_rig import run

from balancer.health.availability import Availability

DOWN = Availability(reason="down", down=True)
EJECTED = Availability(ejected="too many errors")


async def tab(rig):
    """A tunnel to backend ``a``, which is its user's lease."""
    client = await rig.client(UPGRADE)
    await rig.send(rig.hosts["a"].last, SWITCHING)
    return client


async def serves(rig, name):
    """A new request of the same user is served by this backend."""
    for host in rig.hosts.values():
        for peer in host.connections:
            peer.take()
    client = await rig.client(GET)
    asked = {each: peer for each, host in rig.hosts.items() for peer in host.connections if peer.got == ASKED}
    assert asked.keys() == {name}
    await rig.send(asked[name], OK)
    assert client.got == OK


def test_a_lease_leads_away_from_the_owner():
    async def work(rig):
        await tab(rig)
        rig.pool.place(rig.placement("ba"))
        await serves(rig, "a")

    run(work)


def test_the_backend_has_been_removed():
    async def work(rig):
        await tab(rig)
        gone = rig.backend("a")
        rig.pool.place(rig.placement("b"))
        await serves(rig, "b")
        assert (gone.active, gone.tunnels) == (1, 1)
        for client in rig.clients:
            client.close()
        rig.hosts["a"].last.finish()
        await rig.settle()
        assert (gone.active, gone.tunnels) == (0, 0)

    run(work)


@pytest.mark.parametrize(
    ("availability", "state", "server"),
    [
        (DOWN, None, "b"),
        (EJECTED, None, "a"),
        (Availability(requested_state="drain"), None, "a"),
        (Availability(requested_state="maint"), None, "b"),
        (Availability(), "drain", "a"),
        (Availability(), "maint", "b"),
    ],
    ids=["down", "ejected", "asks to be drained", "asks for maintenance", "drained", "in maint"],
)
def test_the_backend_is_not_to_be_used(availability, state, server):
    """Some of these keep those who have tunnels there."""

    async def work(rig):
        await tab(rig)
        rig.pool.update_availability({"a": availability})
        rig.pool.place(rig.placement("ab", states={"a": state} if state else {}))
        await serves(rig, server)

    run(work)


@pytest.mark.parametrize("availability", [DOWN, EJECTED, Availability(requested_state="drain")])
def test_one_who_only_lingers_goes_elsewhere(availability):
    async def work(rig):
        client = await tab(rig)
        client.close()
        rig.hosts["a"].last.finish()
        await rig.settle()
        assert len(rig.pool.leases) == 1
        rig.pool.update_availability({"a": availability})
        await serves(rig, "b")

    run(work)


def test_the_backend_refuses_connections():
    async def work(rig):
        await tab(rig)
        rig.hosts["a"].refuse()
        await serves(rig, "b")
        await serves(rig, "b")
        assert [tries for *_, tries in rig.log.lines[-2:]] == [2, 1], "it is not tried again at once"

    run(work)


def test_control_says_that_the_user_is_elsewhere():
    async def work(rig):
        token = b"192.0.2.7"
        rig.pool.leases.follow(token, ("b", True))
        await serves(rig, "b")
        rig.pool.leases.follow(token, ("gone", True))
        await serves(rig, "a")
        assert rig.pool.decisions == {"lease": 1, "owner": 1}
        rig.pool.leases.follow(token, None)
        await serves(rig, "a")

    run(work)
