"""Write the golden files of the release that is being made: ``python tests/ipc/write_golden.py 0.2.0``."""

import json
import sys
from pathlib import Path

import msgspec
from samples import SAMPLES

from balancer.ipc.wire import encode

if __name__ == "__main__":
    folder = Path(__file__).parent / "golden" / sys.argv[1]
    folder.mkdir(parents=True, exist_ok=True)
    for message in SAMPLES:
        said = {"frame": encode(message).hex(), "fields": msgspec.to_builtins(message, str_keys=True)}
        (folder / f"{type(message).__name__}.json").write_text(json.dumps(said, indent=1) + "\n")
