"""Words, conditions and files are read as a real haproxy reads them."""

import re
import subprocess

import pytest
from haproxy_rig import HAPROXY, needs_haproxy
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.migrate.haproxy.condition import holds
from balancer.migrate.haproxy.source import read
from balancer.migrate.haproxy.words import BadLine, split
from balancer.migrate.outcome import Notes

VARIABLES = {"A": "aa", "B": "b b", "D": "p q  r", "E": ""}
PIECES = st.sampled_from(
    [
        *"ab \t\\\"'#x4n-.$",
        "$A",
        "$B",
        "${A}",
        "${B}",
        "${C-d e}",
        "${D[*]}",
        "${NONE[*]}",
        "${A",
        "\\x41",
        "\\$",
        "${E-x}",
    ]
)
SAID = re.compile(r"parsing \[[^]]*:(\d+)\]:? ?:? (.*?)(?=\n\[(?:NOTICE|ALERT|WARNING)\]|\Z)", re.DOTALL)


def words(line):
    return split(line, lambda name, default: VARIABLES.get(name, default or ""))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("  # nothing", []),
        ("a\tb   c#d", ["a", "b", "c"]),
        (r"a\ b \#c d\\", ["a b", "#c", "d\\"]),
        (r"""'a "b" \n $A #' "c 'd' #" """, [r'a "b" \n $A #', "c 'd' #"]),
        (r'"\x41\"\$A" \x41\t', ['A"$A', "A\t"]),
        (r"\q \$A $A", [r"\q", r"\$A", "$A"]),
        ('"$A$B" "${NONE-x y}z" ""', ["aab b", "x yz", ""]),
        ('"$A.b"', ["aa.b"]),
        ('x"${D[*]}"y "${NONE[*]}"', ["xp", "q", "ry", ""]),
    ],
)
def test_words(line, expected):
    assert words(line) == tuple(expected)


@pytest.mark.parametrize("line", ['"a', "a 'b", r"\x4", r'"\x"', '"$"', '"${1}"', '"${A"', "x " * 65])
def test_bad_lines(line):
    with pytest.raises(BadLine):
        words(line)


@needs_haproxy
@settings(max_examples=12)
@given(st.lists(st.lists(PIECES, min_size=1, max_size=9).map("".join), min_size=30, max_size=60))
def test_words_are_those_of_haproxy(tmp_path_factory, fragments):
    """``.notice`` says its first word, and complains of a second."""
    file = tmp_path_factory.getbasetemp() / "words.cfg"
    file.write_text("global\n" + "".join(f".notice {fragment}\n" for fragment in fragments))
    # It repeats the bytes that it has read, such as \xaa, which is not UTF-8.
    done = subprocess.run(
        [HAPROXY, "-c", "-f", file], env=VARIABLES, capture_output=True, errors="surrogateescape", check=False
    )
    said = {}
    for match in SAID.finditer(done.stderr):
        said.setdefault(int(match[1]), match[2])
    for number, fragment in enumerate(fragments, 2):
        try:
            _, *found = words(f".notice {fragment}")
        except BadLine:
            assert not said[number].startswith(("'", "Unexpected")), (fragment, said[number])
            continue
        first, second = [*found, "", ""][:2]
        expected = f"Unexpected argument '{second}' for '.notice'." if second else f"'{first}'."
        assert said[number].startswith(expected), (fragment, found, said[number])


CONDITIONS = {
    "": False,
    "0": False,
    "-1": True,
    "defined(A)": True,
    "defined(NONE)": False,
    "!defined(NONE)": True,
    "streq(a,a)": True,
    "streq(a b,a b)": True,
    "streq(a, a)": False,
    "streq( a, a)": True,
    "strneq(a,a)": False,
    "0 || 1 && 0": False,
    "1 || 1 && 0": True,
    "(1 || 1) && 0": False,
    "!(0 || 0) && !0": True,
    "!!1": True,
    "feature(OPENSSL)": None,
    "version_atleast(1.0) || 1": True,
    "version_atleast(1.0) && 0": False,
    "!version_before(1.0)": None,
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions(text):
    assert holds(text, VARIABLES) is CONDITIONS[text]


@needs_haproxy
@pytest.mark.parametrize("text", [text for text, value in CONDITIONS.items() if value is not None and text])
def test_conditions_are_those_of_haproxy(text):
    done = subprocess.run([HAPROXY, "-cc", text], env=VARIABLES, capture_output=True, check=False)
    assert done.returncode == (0 if CONDITIONS[text] else 1), done.stderr


@pytest.mark.parametrize(
    "text", ["maybe", "defined()x", "1 2", "(1", "1 ||", "&& 1", "streq(a)", "defined(a,b)", "!", "streq((a),a)"]
)
def test_bad_conditions(text):
    with pytest.raises(BadLine):
        holds(text, VARIABLES)


BLOCKS = """\
.if 1
  global
  .if 0
    a
  .elif 1
    b
  .elif 1
    c
  .else
    d
  .endif
  e
.else
  .if 1
    f
  .else
    g
  .endif
.endif
.if 0
  h
.elif defined(A)
  i
.endif
"""


def test_blocks(tmp_path):
    (tmp_path / "x.cfg").write_text(BLOCKS)
    notes = Notes()
    lines = [line.words for section in read([tmp_path / "x.cfg"], VARIABLES, notes) for line in section.lines]
    assert lines == [("b",), ("e",), ("i",)]
    assert [remark.line for remark in notes.remarks] == [1, 3, 5, 20, 22]


def test_a_folder_stands_for_its_files(tmp_path):
    for name, text in (
        ("b.cfg", "frontend b\n"),
        ("a.cfg", "global\n  setenv X y\n"),
        (".c.cfg", "bad"),
        ("d.txt", "bad"),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "e.cfg").mkdir()
    notes = Notes()
    assert [each.name for each in read([tmp_path], {}, notes) if each.kind == "frontend"] == ["b"]
    notes.check()


def test_variables_of_global_hold_for_what_comes_after(tmp_path):
    text = (
        'global\n  setenv X 1\n  presetenv X 2\n  presetenv Y 3\n  unsetenv A\n  z "$X$Y$A"\n  resetenv Y\n  z "$X$Y"\n'
    )
    (tmp_path / "x.cfg").write_text(text)
    notes = Notes()
    lines = [line.words for section in read([tmp_path / "x.cfg"], VARIABLES, notes) for line in section.lines]
    assert [words for words in lines if words[0] == "z"] == [("z", "13"), ("z", "3")]
    assert [(remark.line, remark.what) for remark in notes.remarks] == [(6, "z"), (8, "z")]


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.cfg", "No such file"), ("empty", "no *.cfg"), ("loop", "Too many levels of symbolic links")],
)
def test_files_that_cannot_be_read(name, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    notes = Notes()
    assert read([tmp_path / name], {}, notes) == []
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        notes.check()
    assert name in str(caught.value)
