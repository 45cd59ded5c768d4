"""Releases for tests: virtual environments with a copy of the package, of another version, and with faults."""

import shutil
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "balancer"
SITE = next(path for path in map(Path, sys.path) if path.name == "site-packages")

TAKES_OVER = "import sys\nif sys.argv[0].startswith('/proc/self/fd'):\n    "
"""Before lines of modules of the supervisor: what follows happens after its rehearsal only."""
CONTROL = "import sys\nif len(sys.argv) > 4:\n    "
WORKER = "import sys\nif len(sys.argv) == 4:\n    "
"""The same for modules in which children begin, by the number of their arguments."""
LATER = "import os, threading\n    threading.Timer({seconds}, os._exit, [7]).start()"

REFUSED = {
    "unimportable": {"daemon/worker.py": ("", "raise ImportError('broken')\n")},
    "other-format": {"upgrade/state.py": ("FORMAT = 1\n", "FORMAT = 0\n")},
    "other-points": {"config/pool.py": ("points: Annotated[int, Field(ge=1, le=4096)] = 160", "points: int = 150")},
}
"""Faults of releases that are refused, by their name: what stands in a file, and what takes its place."""
GOES_BACK = {
    "no-supervisor": {"daemon/main.py": ("", TAKES_OVER + "raise ImportError('broken')\n")},
    "no-memory": {"daemon/boards.py": ("", TAKES_OVER + "raise MemoryError\n")},
    "hangs": {"daemon/supervisor.py": ("", TAKES_OVER + "import time; time.sleep(1000)\n")},
    "hanging-worker": {"daemon/worker.py": ("", WORKER + "import time; time.sleep(1000)\n")},
    "no-control": {"daemon/control.py": ("", CONTROL + "raise SystemExit(1)\n")},
    "no-worker": {"daemon/worker.py": ("", WORKER + "raise SystemExit(1)\n")},
    "dying-worker": {"daemon/worker.py": ("", WORKER + LATER.format(seconds=1.0) + "\n")},
    "no-answers": {
        "proxy/http_connection.py": (
            "    engine, task = ",
            "    raise ProxyError(Source.CLIENT, 400, '')\n    engine, task = ",
        )
    },
    "bad-setup": {
        "proxy/control_client.py": ("        settings = setup.settings\n", "        raise ValueError('never')\n")
    },
}
"""The same for those that fail only when they take over."""


def make_release(
    folder: Path, version: str, faults: dict[str, tuple[str, str]] | None = None, python: str = ""
) -> Path:
    """A release in ``folder``, of the interpreter ``python`` or our own."""
    base = Path(python or sys.executable).resolve()
    site = folder / "lib" / (base.name if python else SITE.parent.name) / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    if not python:
        (site / "others.pth").write_text(f"{SITE}\n")
    about = site / f"balancer-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: balancer\nVersion: {version}\n")
    shutil.copytree(PACKAGE, site / "balancer", ignore=shutil.ignore_patterns("*.so"))  # faults are put into sources
    for name, (found, put) in (faults or {}).items():
        path = site / "balancer" / name
        text = path.read_text()
        assert found in text, f"{name} has changed"
        path.write_text(text.replace(found, put, 1) if found else put + text)
    return folder
