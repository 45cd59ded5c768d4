"""The line of every key: known cases, and documents rendered at random by a writer that counts as it writes."""

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.config.locate import lines, nearest

DOCUMENT = '''\
# comment with [brackets] and = signs
title = "a # no comment [x]"
a.b . "c.d" = 1

[[pool]]
name = 'it'
text = """
[not.a.table]
x = 1 \\"""
"quotes at the end"""""
bind = [ # comment ]
  "1", [2,
  3], { p = 1, q.r = [
    4 ] },
]
[pool.token] # of the first
param = 1979-05-27 07:32:00
[[pool.backend]]
[[pool.backend]]
weight = +inf
[[pool]]
[[pool.backend]]
"we\\u0069ght" = 1
literal = \'\'\'
[x]
\'\'\'
last.one = true
[z.y.x]
[z]
'''


def test_known_document():
    tomllib.loads(DOCUMENT)
    assert lines(DOCUMENT) == {
        ("title",): 2,
        ("a",): 3,
        ("a", "b"): 3,
        ("a", "b", "c.d"): 3,
        ("pool",): 5,
        ("pool", 0): 5,
        ("pool", 0, "name"): 6,
        ("pool", 0, "text"): 7,
        ("pool", 0, "bind"): 11,
        ("pool", 0, "bind", 0): 12,
        ("pool", 0, "bind", 1): 12,
        ("pool", 0, "bind", 1, 0): 12,
        ("pool", 0, "bind", 1, 1): 13,
        ("pool", 0, "bind", 2): 13,
        ("pool", 0, "bind", 2, "p"): 13,
        ("pool", 0, "bind", 2, "q"): 13,
        ("pool", 0, "bind", 2, "q", "r"): 13,
        ("pool", 0, "bind", 2, "q", "r", 0): 14,
        ("pool", 0, "token"): 16,
        ("pool", 0, "token", "param"): 17,
        ("pool", 0, "backend"): 18,
        ("pool", 0, "backend", 0): 18,
        ("pool", 0, "backend", 1): 19,
        ("pool", 0, "backend", 1, "weight"): 20,
        ("pool", 1): 21,
        ("pool", 1, "backend"): 22,
        ("pool", 1, "backend", 0): 22,
        ("pool", 1, "backend", 0, "weight"): 23,
        ("pool", 1, "backend", 0, "literal"): 24,
        ("pool", 1, "backend", 0, "last"): 27,
        ("pool", 1, "backend", 0, "last", "one"): 27,
        ("z",): 29,
        ("z", "y"): 28,
        ("z", "y", "x"): 28,
    }


def test_a_missing_key_is_where_its_table_is():
    found = lines("\n[a]\nb = 1\n")
    assert nearest(found, ("a", "missing", 3, "deeper")) == 2
    assert nearest(found, ("nowhere",)) is None


NAMES = st.text(st.sampled_from("ab_-9é.\"'# =[]\\"), max_size=4)
LEAVES = st.one_of(
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.dates(),
    st.datetimes(),
    st.text(st.sampled_from("a\"'\\#[]{},=\n\t é"), max_size=12),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3))
DOCUMENTS = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(VALUES, inner, st.lists(inner, min_size=1, max_size=3)), max_size=4),
    max_leaves=12,
)


class Writer:
    """Writes a document in a style drawn at random, and notes the line of each key it writes."""

    def __init__(self, draw):
        self.draw = draw
        self.text = ""
        self.lines = {}

    def mark(self, key):
        self.lines[key] = self.text.count("\n") + 1

    def gap(self):
        self.text += self.draw(st.sampled_from(["", "", "\n", "# [x] = 'y\n", "\t\n\n"]))

    def key(self, name):
        bare = name and all(c in "ab_-9" for c in name)
        styles = [basic(name)] + [name] * bool(bare) + [f"'{name}'"] * ("'" not in name)
        return self.draw(st.sampled_from(styles))

    def table(self, path, table):
        """Plain values first, then sub-tables as headers: what follows a header belongs to it."""
        headers = []
        for name, value in table.items():
            tables = isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
            if (isinstance(value, dict) or tables) and self.draw(st.booleans()):
                headers.append((name, value))
            else:
                self.gap()
                self.pair(path, name, value)
                self.text += "\n"
        for name, value in headers:
            header = ".".join(self.key(part) for part in (*path, name) if isinstance(part, str))
            if isinstance(value, dict):
                self.header((*path, name), f"[ {header}\t]", value)
                continue
            for i, each in enumerate(value):
                self.header((*path, name, i), f"[[{header} ]] # ]", each)

    def header(self, path, line, table):
        self.gap()
        self.mark(path)
        if path[-1] == 0:
            self.mark(path[:-1])
        self.text += f"{line}\n"
        self.table(path, table)

    def pair(self, path, name, value):
        path = (*path, name)
        self.mark(path)
        self.text += f"{self.key(name)} "
        while isinstance(value, dict) and len(value) == 1 and self.draw(st.booleans()):
            [(name, value)] = value.items()
            path = (*path, name)
            self.mark(path)
            self.text += f". {self.key(name)}"
        self.text += "= "
        self.value(path, value)

    def value(self, path, value):
        if isinstance(value, list):
            self.text += "["
            for i, each in enumerate(value):
                self.gap()
                self.mark((*path, i))
                self.value((*path, i), each)
                self.gap()
                self.text += ","
            self.gap()
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for i, (name, each) in enumerate(value.items()):
                self.text += ", " if i else " "
                self.pair(path, name, each)
            self.text += "}"
        elif isinstance(value, str):
            self.text += self.draw(st.sampled_from(strings(value)))
        elif isinstance(value, bool):
            self.text += str(value).lower()
        else:
            self.text += value.isoformat() if hasattr(value, "isoformat") else repr(value)


def basic(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def strings(text):
    """The ways of TOML to write a string, as far as ``text`` permits."""
    found = [basic(text)]
    if "'" not in text and "\n" not in text:
        found.append(f"'{text}'")
    if "'''" not in text:
        found.append(f"'''\n{text}'''")
    if '"""' not in text:
        found.append('"""\n' + text.replace("\\", "\\\\") + '"""')
    return found


@settings(max_examples=50)  # each a long document
@given(DOCUMENTS, st.data())
def test_the_line_of_every_key(document, data):
    writer = Writer(data.draw)
    writer.table((), document)
    assert tomllib.loads(writer.text) == document
    assert lines(writer.text) == writer.lines
