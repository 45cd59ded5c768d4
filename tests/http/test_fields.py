"""Header fields that operators set: exactly theirs, whatever peers send."""

import string

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.field_text import is_reserved
from balancer.config.settings import FieldSettings
from balancer.http.fields import Facts, Fields, fields_of, visible
from balancer.http.forward import RequestWriter
from balancer.http.head import parse_request

STRANGER = Facts(b"192.0.2.7", b"4711", b"443", b"https", b"TLSv1.3", b"ide.example", believed=False)


def request(*lines):
    return parse_request(b"\r\n".join([b"GET /x HTTP/1.1", b"Host: ide.example:8443", *lines, b"", b""]))


def changed(*lines, facts=STRANGER, **settings):
    """Return the lines of the head of a request as it goes to a host, without those that come anyway."""
    given_by_all = {b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}
    received = request(*lines)
    head, name = RequestWriter(b"192.0.2.7", b"https", "keep" if facts.believed else "set").write(received, b"id")
    head = Fields(FieldSettings(**settings)).apply(head, facts, received, name)
    assert head.endswith(b"\r\n\r\n")
    return [line for line in head.split(b"\r\n")[1:-2] if line.partition(b":")[0].lower() not in given_by_all]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("max-age=1", b"max-age=1"),
        ("{client_address}:{client_port}", b"192.0.2.7:4711"),
        ("{scheme}://{host}, {port}", b"https://ide.example:8443, 443"),
        ("{tls_version} {sni}", b"TLSv1.3 ide.example"),
        ("{request_id}", b"id"),
        ("{header:accept}!", b"a, b!"),
        ("{forwarded_for}", b"192.0.2.7"),
        ('{"group": {}}', b'{"group": {}}'),
    ],
)
def test_values(value, said):
    received = [b"Accept: a", b"ACCEPT: b"]
    assert changed(*received, set={"X-Y": value}) == [*received, b"X-Y: " + said]


def test_an_empty_value_with_facts_is_left_out_but_replaces_what_came():
    assert changed(b"X-Y: theirs", set={"X-Y": "{header:Nothing}", "X-Z": ""}) == [b"X-Z: "]


@pytest.mark.parametrize("spelling", [b"X-Secret-Id", b"x_secret_id", b"X-SECRET_ID"])
def test_what_is_set_or_removed_goes_in_every_spelling(spelling):
    lines = [b"A: 1", spelling + b": theirs", b"X-Secret-Idea: 2", spelling + b":  again"]
    assert changed(*lines, remove=("X-Secret-Id",)) == [b"A: 1", b"X-Secret-Idea: 2"]
    assert changed(*lines, set={"x-secret-id": "ours"}) == [b"A: 1", b"X-Secret-Idea: 2", b"x-secret-id: ours"]


def test_added_beside_what_came():
    assert changed(b"Via: 1.0 a", add={"Via": ("1.1 b", "1.1 c")}) == [b"Via: 1.0 a", b"Via: 1.1 b", b"Via: 1.1 c"]


def test_claims_of_strangers_are_no_facts():
    claims = [b"X-Forwarded-For: 9.9.9.9", b"X-Real-IP: 9.9.9.9", b"Forwarded: for=9.9.9.9"]
    values = {"A": "{forwarded_for}", "B": "{header:X-Real-IP}", "C": "{header:X_Forwarded-For}{header:Forwarded}"}
    assert changed(*claims, set=values) == [b"A: 192.0.2.7"]
    said = changed(
        *claims, set={"A": "{forwarded_for}", "B": "{header:X-Real-IP}"}, facts=STRANGER._replace(believed=True)
    )
    assert said[-2:] == [b"A: 9.9.9.9, 192.0.2.7", b"B: 9.9.9.9"]


def test_a_server_name_cannot_end_a_line():
    assert visible("ide.example") == b"ide.example"
    assert visible("a\r\nX-Evil: 1") == visible("a b") == visible("\xe9") == b""


def test_nothing_to_do():
    assert fields_of(FieldSettings()) is None


@pytest.mark.parametrize("name", ["Connection", "content_length", "Host", "TE", "X-Balancer-Trace", "x_balancer-y"])
def test_reserved(name):
    assert is_reserved(name)


NAMES = st.text("!#$%&'*+.^_`|~-" + string.ascii_letters + string.digits, min_size=1, max_size=12).filter(
    lambda name: not is_reserved(name)
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    received=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    remove=st.lists(NAMES, max_size=3),
    given_set=st.dictionaries(NAMES, VALUES, max_size=3),
    add=st.dictionaries(NAMES, st.lists(VALUES, max_size=2).map(tuple), max_size=3),
)
def test_any_fields_leave_a_valid_head(received, remove, given_set, add):
    """h11 reads what was sent as what was asked for."""
    lines = [f"{name}: {value}".encode() for name, value in received]
    took = request(*lines)
    settings = FieldSettings(tuple(remove), given_set, add)
    head, name = RequestWriter(b"192.0.2.7", b"https", "keep").write(took, b"id")
    head = Fields(settings).apply(head, STRANGER, took, name)
    server = h11.Connection(h11.SERVER)
    server.receive_data(head)
    event = server.next_event()
    assert isinstance(event, h11.Request)

    def spelled(text):
        return text.lower().replace("_", "-")

    gone = {spelled(each) for each in (*remove, *given_set)}
    sent = [(key.decode(), value.decode()) for key, value in event.headers]
    for key, _ in received:
        mine = [each for each in (*given_set, *add) if spelled(each) == spelled(key)]
        if spelled(key) in gone and not mine:
            assert spelled(key) not in {spelled(each) for each, _ in sent}
    for key, value in given_set.items():
        if "{" not in value:
            assert (key.lower(), value.strip()) in sent
