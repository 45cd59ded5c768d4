"""The architecture as a test: imports point downwards only, and the pure layers touch no I/O and no clock."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "balancer"

# From the top of the house to the ground; packages on one line do not import each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"daemon"},
    {"admin"},
    {"upgrade"},
    {"control", "proxy"},
    {"probes", "ipc", "store"},
    {"net", "pool", "migrate"},
    {"overlay"},
    {"ring"},
    {"health", "http"},
    {"shared"},
    {"config"},
    {"errors"},
]
FLOOR = {package: level for level, packages in enumerate(FLOORS) for package in packages}
PURE = {"config", "http", "ring", "pool", "overlay", "health", "shared", "migrate", "errors"}
BANNED_IN_PURE = {"trio", "socket", "ssl", "time", "select", "asyncio", "threading"}

SOURCES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction of an arrow"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    package = package_of(path)
    tree = ast.parse(path.read_text())
    for name in imported(tree):
        parts = name.split(".")
        if parts[0] == "balancer" and parts[1] != package:
            assert FLOOR[parts[1]] > FLOOR[package], f"{path} imports {name}, which is not below it"
        if package in PURE:
            assert parts[0] not in BANNED_IN_PURE, f"{path} is pure and imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_inside_functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{path}:{inner[0].lineno} imports inside a function"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_no_logic_in_packages(path):
    body = ast.parse(path.read_text()).body
    assert all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom) for node in body)


def test_the_supervisor_is_small():
    """It holds sockets and starts processes; what reads configurations would double its memory and its start."""
    program = "import sys, balancer.daemon.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "balancer.daemon.supervisor" in loaded
    assert not {"pydantic", "cryptography", "balancer.config.model"} & set(loaded)
