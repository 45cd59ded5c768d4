"""Mutants of a source file: small changes, each of which a test should notice."""

import ast
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Node = ast.expr | ast.stmt

COMPARISONS: dict[type[ast.cmpop], tuple[tuple[str, str], ...]] = {
    ast.Lt: (("<", "<="), ("<", ">=")),
    ast.LtE: (("<=", "<"), ("<=", ">")),
    ast.Gt: ((">", ">="), (">", "<=")),
    ast.GtE: ((">=", ">"), (">=", "<")),
    ast.Eq: (("==", "!="),),
    ast.NotEq: (("!=", "=="),),
    ast.Is: (("is", "is not"),),
    ast.IsNot: (("is not", "is"),),
    ast.In: (("in", "not in"),),
    ast.NotIn: (("not in", "in"),),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
}
QUIET = {"debug", "info", "warning", "error", "exception", "critical", "log"}
"""Methods of loggers: what they write is no behaviour that a test has to pin down."""
UNTESTED = {"__repr__", "__str__"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: Path
    line: int
    change: str
    original: str
    """The whole file."""
    text: str
    """The whole file, changed."""

    def diff(self) -> str:
        """Return the change as a unified diff with one line of context."""
        before, after = self.original.splitlines(keepends=True), self.text.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, str(self.path), str(self.path), n=1))


def mutants(root: Path, path: Path) -> list[list[Mutant]]:
    """Return the mutants of ``root / path``, those of one place together."""
    source = (root / path).read_text()
    tree = ast.parse(source)
    writer = _Writer(source)
    places = [
        [Mutant(path, node.lineno, change, source, text) for change, text in _changes(node, writer) if _compiles(text)]
        for node in _Walk().nodes(tree)
    ]
    return [place for place in places if place]


def _compiles(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class _Writer:
    """Replaces pieces of a source by their positions in the tree, which count bytes of UTF-8."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._starts = [0]
        for line in self._source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: Node) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: Node) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def replace(self, begin: int, end: int, new: str) -> str:
        return (self._source[:begin] + new.encode() + self._source[end:]).decode()

    def node(self, node: Node, new: str) -> str:
        return self.replace(self.start(node), self.end(node), new)

    def text(self, node: Node) -> str:
        return self._source[self.start(node) : self.end(node)].decode()

    def between(self, left: Node, right: Node, old: str, new: str) -> str:
        """Replace the operator between two operands."""
        gap = self._source[self.end(left) : self.start(right)].decode()
        pattern = r"\s+".join(map(re.escape, old.split()))
        return self.replace(self.end(left), self.start(right), re.sub(pattern, new, gap, count=1))


class _Walk:
    """The nodes that are worth a mutant: no docstrings, annotations, decorators, texts for people, types."""

    def nodes(self, tree: ast.AST) -> Iterator[Node]:
        for child in self._children(tree):
            if isinstance(child, ast.expr | ast.stmt):
                if self._skipped(child):
                    continue
                yield child
            yield from self.nodes(child)

    def _children(self, node: ast.AST) -> Iterator[ast.AST]:
        skipped: set[int] = set()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                skipped = {id(each) for each in [node.returns, *node.decorator_list]}
            case ast.ClassDef():
                skipped = {id(each) for each in [*node.bases, *node.keywords, *node.decorator_list]}
            case ast.arg() | ast.AnnAssign():
                skipped = {id(node.annotation)}
            case ast.Assert():
                skipped = {id(node.msg)}
            case ast.keyword(arg="strict"):
                skipped = {id(node.value)}
            case ast.Subscript(value=ast.Name(id=name)) if name[0].isupper():  # a generic type
                skipped = {id(node.slice)}
        return (child for child in ast.iter_child_nodes(node) if id(child) not in skipped)

    def _skipped(self, node: Node) -> bool:
        match node:
            case ast.FunctionDef(name=name):
                return name in UNTESTED
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr=attr))) | ast.Call(func=ast.Attribute(attr=attr)):
                return attr in QUIET
            case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
                return True
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return True
            case ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")]):
                return True
            case ast.Assign(value=ast.BinOp(op=ast.BitOr()) | ast.Call(func=ast.Name(id="TypeVar" | "NewType"))):
                return isinstance(node.targets[0], ast.Name) and node.targets[0].id[0].isupper()
        return False


def _changes(node: Node, writer: _Writer) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare():
            left = node.left
            for op, right in zip(node.ops, node.comparators, strict=True):
                for old, new in COMPARISONS[type(op)]:
                    yield f"{old} to {new}", writer.between(left, right, old, new)
                left = right
        case ast.BoolOp():
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield f"{old} to {new}", writer.between(left, right, old, new)
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            old, new = ARITHMETIC[type(op)]
            yield f"{old} to {new}", writer.between(node.left, node.right, old, new)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "without not or -", writer.node(node, f"({writer.text(node.operand)})")
        case ast.Constant():
            yield from _constants(node, writer)
        case ast.If(test=test) | ast.IfExp(test=test):
            yield "branches swapped", writer.node(test, f"not ({writer.text(test)})")
        case ast.Return(value=value) if value is not None and not _nothing(value):
            yield "return None", writer.node(node, "return None")
        case ast.Break():
            yield "break to continue", writer.node(node, "continue")
        case ast.Continue():
            yield "continue to break", writer.node(node, "break")
        case ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Expr():
            yield "statement removed", writer.node(node, "pass")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement removed", writer.node(node, "pass")


def _constants(node: ast.Constant, writer: _Writer) -> Iterator[tuple[str, str]]:
    match node.value:
        case bool():
            yield "constant", writer.node(node, repr(not node.value))
        case int() | float():
            for new in (node.value + 1, node.value - 1):
                yield "constant", writer.node(node, f"{new!r}" if new >= 0 else f"({new!r})")
        case bytes() if writer.text(node)[0] in "bB":
            yield "constant", writer.node(node, repr(node.value + b"X"))


def _nothing(value: ast.expr) -> bool:
    """Return whether callers take the value as they take None."""
    return isinstance(value, ast.Constant) and not value.value
