"""The long run: ``python tests/fuzz/run.py [TARGET ...] [--seconds N] [--keep]`` (needs ``pip install -e '.[fuzz]'``).

Each target runs in a process of its own, in turn: atheris steers mutations by the coverage of ``balancer``, from the
kept corpus. An input that breaks a target is printed and kept in the corpus, so that the suite fails until
it is mended.
``--keep`` also keeps those of the new inputs that reach something new (as few and as short ones as will do).
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
MAX_BYTES = 4096

with atheris.instrument_imports(include=["balancer"]):
    from targets import CORPUS, TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*", default=list(TARGETS), metavar="TARGET", help="all, if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time; it is printed")
    parser.add_argument("--keep", action="store_true", help="add inputs that reach something new to the corpus")
    args = parser.parse_args()
    broken = [name for name in args.target if not fuzz(name, args.seconds, args.seed, keep=args.keep)]
    print(f"broken: {', '.join(broken)}" if broken else f"{len(args.target)} targets held")
    return 1 if broken else 0


def fuzz(name: str, seconds: int, seed: int, *, keep: bool) -> bool:
    """Run one target; did it hold?"""
    print(f"== {name}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        found, crashes = Path(scratch, "found"), Path(scratch, "crashes")
        found.mkdir()
        crashes.mkdir()
        options = [f"-max_len={MAX_BYTES}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
        code = _child(
            name,
            *options,
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-artifact_prefix={crashes}/",
            found,
            _of(name),
        )
        for crash in crashes.iterdir():
            print(f"{name} broke on {crash.read_bytes()!r}")
            _add(name, crash.read_bytes())
        if keep:
            merged = Path(scratch, "merged")
            merged.mkdir()
            _child(name, "-merge=1", f"-max_len={MAX_BYTES}", merged, _of(name), found)
            for file in merged.iterdir():
                _add(name, file.read_bytes())
    return code == 0


def _child(name: str, *args: object) -> int:
    command = [sys.executable, __file__, "--child", name, *map(str, args)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _of(name: str) -> Path:
    return CORPUS / name


def _add(name: str, data: bytes) -> None:
    if not any(data == file.read_bytes() for file in _of(name).iterdir()):
        (_of(name) / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def child(name: str, *options: str) -> None:
    """The process of one target; libFuzzer reads the options, and ends it."""
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    sys.exit(main())
