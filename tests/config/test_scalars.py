"""Durations, addresses, networks and paths: round trips, and what is refused in which words."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.pool import BackendHealthConfig
from balancer.config.scalars import (
    Address,
    Memory,
    parse_address,
    parse_duration,
    parse_host_pattern,
    parse_memory,
    parse_network,
    parse_path,
    parse_rate,
    parse_status,
    shown,
)

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text(), max_size=2))


@given(st.integers(1, 365), st.sampled_from(sorted(UNITS)))
def test_durations(number, unit):
    assert parse_duration(f"{number}{unit}") == number * UNITS[unit]
    assert parse_duration(f"{number}.50{unit}") == (number + 0.5) * UNITS[unit]


@given(st.integers(1, 500_000), st.sampled_from(sorted(UNITS.keys() - {"d", "h"})))
def test_durations_survive_the_journal(number, unit):
    given = BackendHealthConfig(interval=f"{number}{unit}")
    assert BackendHealthConfig.model_validate_json(given.model_dump_json()) == given


@pytest.mark.parametrize(
    "text", ["0s", "-1s", "1", "s", "1 s", "1S", "\u0661s", "1e3s", ".5s", "400d", "9" * 400 + "s", 10, True]
)
def test_no_durations(text):
    with pytest.raises(ValueError, match="a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("20/s", 20.0), ("3/m", 0.05), ("1/h", 1 / 3600), ("0.5/s", 0.5), ("off", 0.0)]
)
def test_rates(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["20", "20/d", "/s", "0/s", "-1/s", "1e9/s", "9999999/s", "1/s ", 20, None, True, ""])
def test_no_rates(text):
    with pytest.raises(ValueError, match="a rate"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("75%", Memory(share=0.75)),
        ("100%", Memory(share=1.0)),
        ("512MiB", Memory(bytes=512 << 20)),
        ("2GiB", Memory(bytes=2 << 30)),
        ("off", Memory()),
    ],
)
def test_amounts_of_memory(text, memory):
    assert parse_memory(text) == memory
    assert parse_memory(str(memory)) == memory


@pytest.mark.parametrize("text", ["0%", "101%", "0MiB", "2GB", "1.5GiB", "2", 2, 0.75, "-1%", "", None, "\u0662GiB"])
def test_no_amounts_of_memory(text):
    with pytest.raises(ValueError, match="expected memory"):
        parse_memory(text)


PORTS = st.integers(0, 65535)
ADDRESSES = st.one_of(
    st.builds(Address, st.ip_addresses().map(str), PORTS),
    st.builds(
        Address, path=st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=90).map("/{}".format)
    ),
)


@given(ADDRESSES)
def test_addresses_round_trip(address):
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("localhost:80", "names are not resolved"),
        ("http://127.0.0.1:80", "without a scheme and a path"),
        ("*:443", "every address of the machine is"),
        (":443", "every address of the machine is"),
        ("127.0.0.1", "add the port"),
        ("127.0.0.1:", "add the port"),
        ("127.0.0.1:65536", "expected a port of at most 65535"),
        ("127.0.0.256:80", "expected an address"),
        ("127.0.0.1:\u0668\u0660", "expected an address"),
        ("::1:80", "an IPv6 address stands in brackets"),
        ("[127.0.0.1]:80", "expected an address"),
        ("[::1]", "expected an address"),
        ("127.0.0.1:80\n", "expected an address"),
        ("unix:relative", "unix:/absolute/path"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        (80, "not 80"),
    ],
)
def test_no_addresses(text, says):
    with pytest.raises(ValueError, match=says):
        parse_address(text)


@given(st.ip_addresses(), st.integers(0, 32))
def test_networks_round_trip(address, bits):
    network = ip_network((address, bits), strict=False)
    assert parse_network(str(network)) == network


@given(ANYTHING, st.sampled_from([parse_duration, parse_address, parse_network, parse_status]))
def test_parsers_raise_only_value_errors_of_one_line(value, parse):
    assert refusal(parse, value).isprintable()


@pytest.mark.parametrize(("value", "status"), [(200, "200"), (599, "599"), ("204", "204"), ("2xx", "2xx")])
def test_statuses(value, status):
    assert parse_status(value) == status


@pytest.mark.parametrize("value", [199, 600, True, "1xx", "6xx", "20x", "2XX", "2xx ", " 200", "0200", 200.0, None])
def test_no_statuses(value):
    assert refusal(parse_status, value).startswith('expected a status from 200 to 599 or a class such as "2xx", not ')


def refusal(parse, value):
    try:
        parse(value)
    except ValueError as error:
        return str(error)
    return ""


@given(st.text())
def test_shown_is_one_short_printable_line(text):
    assert shown(text).isprintable()
    assert len(shown(text)) <= 12 * 60
    if len(text) <= 60 and text.isprintable() and not set(text) & set('"\\'):
        assert shown(text) == f'"{text}"'


def test_shown_values_are_as_in_the_file():
    assert [shown(each) for each in (True, 7, 1.5, 'a"b', [1], {}, Path)] == [
        "true",
        "7",
        "1.5",
        '"a\\"b"',
        "an array",
        "a table",
        "a date or time",
    ]
    assert shown(1 << 20000) == "a number of more than 64 bits"
    assert shown("x" * 61) == '"' + "x" * 60 + '..."'


def test_hosts():
    written = ["ide.example", "*.IDE.example.", "[::1]", "a_b-c", "10.0.0.1"]
    assert [parse_host_pattern(each) for each in written] == [
        "ide.example",
        "*.ide.example",
        "[::1]",
        "a_b-c",
        "10.0.0.1",
    ]
    for bad in ("", "*", "a.*", "*a", "a:80", "a b", "a..b", "\u00e4", "*.*.a", "x" * 256, 7):
        with pytest.raises(ValueError, match="expected a host"):
            parse_host_pattern(bad)


def test_paths():
    visible = "/" + "".join(map(chr, range(0x21, 0x7F))).replace("?", "").replace("#", "")
    assert [parse_path(each) for each in ("/", "/%7Ea/b;c", visible)] == ["/", "/%7Ea/b;c", visible]
    for bad in ("", "a", "/a?b", "/#", "/ a", "/\u00e4", "/a\n", 7):
        with pytest.raises(ValueError, match="expected a path"):
            parse_path(bad)


def test_a_network_with_host_bits_is_corrected():
    with pytest.raises(ValueError, match=r'did you mean "10\.0\.0\.0/8"'):
        parse_network("10.1.2.3/8")
