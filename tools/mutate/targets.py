"""Which sources are mutated, and which tests have to notice."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A package and its tests: those that run in the test's own process first, then those that start a daemon."""

    package: str
    tests: tuple[str, ...]

    def sources(self, root: Path) -> list[Path]:
        """Return the files of the package, relative to ``root``."""
        return sorted(path.relative_to(root) for path in (root / self.package).glob("*.py"))

    def tests_for(self, source: Path, root: Path) -> list[str]:
        """Return the tests in the order in which they run: those that are named after the source come first."""
        stem = source.stem.removesuffix("s")
        named = [str(path.relative_to(root)) for path in root.glob(f"{self.tests[0]}/test_{stem}*.py")]
        return [*named, *self.tests]


END_TO_END = (
    *("http", "tunnels", "tokens", "routes", "placement", "streaming", "splits", "secured", "introduced", "tls"),
    *("overload", "breaks", "slow", "failover"),
)
"""Tests of a whole daemon that concern the proxy, the fast ones first."""
TARGETS = (
    Target("balancer/ring", ("tests/ring",)),
    Target("balancer/overlay", ("tests/ring/test_overlay.py", "tests/ring", "tests/control/test_journal.py")),
    Target("balancer/pool", ("tests/pool",)),
    Target("balancer/http", ("tests/http",)),
    Target("balancer/proxy", ("tests/proxy", *(f"tests/e2e/test_e2e_{name}.py" for name in END_TO_END))),
)
