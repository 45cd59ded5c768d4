"""What the sources of the compiled modules must not do, because mypyc compiles it wrongly or not at all.

Each rule was broken once, with the effect that its test names. ``python -m tools compiled`` runs the whole suite on the
compiled modules; these tests run on any build.
"""

import ast
import os
import re
from pathlib import Path

import pytest

from balancer.shared.compiled import build

ROOT = Path(__file__).parent.parent
COMPILED = [ROOT / name for name in re.findall(r'"(balancer/[^"]+\.py)"', (ROOT / "setup.py").read_text())]


def trees():
    return [pytest.param(ast.parse(path.read_text()), id=str(path.relative_to(ROOT))) for path in COMPILED]


def test_the_build_is_the_expected_one():
    assert build() == os.environ.get("BALANCER_BUILD", "pure")


def test_all_modules_exist():
    assert len(COMPILED) > 30
    assert all(path.is_file() for path in COMPILED)


def last_name(node):
    """``view`` of ``view`` and of ``self.view``."""
    return getattr(node, "id", None) or getattr(node, "attr", None)


def memoryviews(tree):
    """Names of variables, attributes and arguments that hold memoryviews."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=ast.expr() as kind) if "memoryview" in ast.unparse(kind):
                found.add(name)
            case ast.AnnAssign(target=target, annotation=kind) if "memoryview" in ast.unparse(kind):
                found.add(last_name(target))
            case ast.Assign(targets=targets, value=value) if "memoryview(" in ast.unparse(value):
                found |= {last_name(target) for target in targets}
    return found


@pytest.mark.parametrize("tree", trees())
def test_nothing_is_called_in_the_bounds_of_a_slice_of_a_memoryview(tree):
    """It is called twice: every line of the access log was written twice."""
    views = memoryviews(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and last_name(node.value) in views:
            calls = [inner for inner in ast.walk(node.slice) if isinstance(inner, ast.Call)]
            assert not calls, f"line {node.lineno}: call it before, and keep the result in a variable"


def test_the_rule_of_memoryviews_finds_what_was_wrong():
    wrong = ast.parse(
        "def f(fd, data):\n    view = memoryview(data)\n    while view:\n        view = view[write(fd, view):]\n"
    )
    with pytest.raises(AssertionError, match="line 4"):
        test_nothing_is_called_in_the_bounds_of_a_slice_of_a_memoryview(wrong)


@pytest.mark.parametrize("tree", trees())
def test_the_state_of_a_coroutine_is_not_asked_for(tree):
    """Compiled ones have none: every deadline became "a connection crashed"."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not {"getcoroutinestate", "cr_running", "cr_frame", "cr_await"} & (names | attributes)


@pytest.mark.parametrize("tree", trees())
def test_constant_tuples_of_floats_have_their_type(tree):
    """Else the constant is "not set" when it is read, a NameError."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Name) and node.annotation.id == "Final":
            value = node.value
            floats = [each for each in ast.walk(value) if isinstance(each, ast.Constant) and type(each.value) is float]
            assert not (isinstance(value, ast.Tuple) and floats), f"line {node.lineno}: Final[tuple[float, ...]]"


@pytest.mark.parametrize("tree", trees())
def test_classes_have_one_assignment_a_line_and_declare_what_is_the_class_s(tree):
    """``a = b = 0.0`` in a class does not compile, and a constant read through the class needs ``ClassVar``."""
    for cls in ast.walk(tree):
        if isinstance(cls, ast.ClassDef) and "Enum" not in " ".join(map(ast.unparse, cls.bases)):
            for node in cls.body:
                assert not (isinstance(node, ast.Assign) and len(node.targets) > 1), f"line {node.lineno}"
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    assert not node.targets[0].id.isupper(), f"line {node.lineno}: ClassVar[…]"
