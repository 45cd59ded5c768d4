"""All tabs of a user are on one host: a tab that is sent elsewhere takes the older ones along."""

import pytest
from admin_rig import NAMES, AdminDaemon
from wire import Backend

GOODBYE = b"\x88\x02\x03\xf4"
"""1012, service restart."""


@pytest.fixture(scope="module")
def hosts():
    played = [Backend() for _ in NAMES]
    yield played
    for host in played:
        host.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    with AdminDaemon(tmp_path_factory.mktemp("together"), hosts) as running:
        yield running


@pytest.fixture
def ends(daemon):
    opened = []
    yield opened
    for end in opened:
        end.close()
    daemon.reset()


def others(place):
    return [name for name in NAMES if name != place]


def by_pin(daemon, token, place):
    answer = daemon.ask("POST", "./pins", {"token": token, "backend": others(place)[0]})
    assert answer.status == 201


def by_maintenance(daemon, token, place):
    assert daemon.ask("PUT", f"./backends/{place}/state", {"state": "maint"}).status == 200


@pytest.mark.parametrize("send_away", [by_pin, by_maintenance])
def test_a_tab_that_is_sent_elsewhere_takes_the_others_along(daemon, hosts, ends, send_away):
    token = f"secret-{send_away.__name__}"
    daemon.open_tunnel(hosts, token, ends)
    daemon.open_tunnel(hosts, token, ends)
    place = daemon.place(token)
    send_away(daemon, token, place)
    assert daemon.place(token) != place
    for client in ends[::2]:  # nobody is moved before somebody has to be
        client.send(b"\x81\x80abcd")
    for host in ends[1::2]:
        assert host.exactly(6) == b"\x81\x80abcd"
    daemon.open_tunnel(hosts, token, ends)
    for client in ends[:4:2]:
        assert client.rest() == GOODBYE
    for host in ends[1:4:2]:
        assert host.rest()[:2] == b"\x88\x82"
    newest, home = ends[4:]
    home.send(b"\x81\x00")
    assert newest.exactly(2) == b"\x81\x00"
    daemon.logged(event="close", backend=place, ended=f"the user has moved to {daemon.place(token)}", by="internal")
