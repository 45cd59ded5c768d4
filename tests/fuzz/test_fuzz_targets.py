"""Each parser over its kept inputs, and over what hypothesis makes of them; ``run.py`` does the same for hours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import CORPUS, TARGETS, corpus

PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"%", b"&", b"=", b"?", b'"', b"#"),
    *(b"0", b"-1", b"+5", b"0x10", b"ffffffffffffffff", b"99999999999999999999", b"NaN", b"1e999", b"\xff\xff\xff\xff"),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Host: b\r\n"),
    *(b"HTTP/1.1 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\nHost: c\r\n\r\n", b"0\r\n\r\n", b"\x80\x7f", b"\x16\x03\x01"),
    *(b"{}", b"[]", b"null", b"true", b"[[a]]\n", b"\\u001b", "\u2028".encode()),
]
EXAMPLES = {"journal": 20, "overlay": 20, "probe_websocket": 20, "admin_wire": 30, "config": 40}
"""Of the targets that take long; 80 of the others."""


@st.composite
def mutations(draw, inputs):
    """A kept input with some of its bytes replaced by others, or by bytes of another."""
    data = draw(st.sampled_from(inputs))
    other = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 8, 1000])))
        cut = draw(st.integers(0, len(other)))
        new = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.just(other[cut : cut + 40])))
        data = data[:start] + new + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name):
    for data in corpus(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_them(name):
    @settings(max_examples=EXAMPLES.get(name, 80), database=None)
    @given(mutations(corpus(name)))
    def hold(data):
        TARGETS[name](data)

    hold()


def test_nothing_is_kept_for_nobody():
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
