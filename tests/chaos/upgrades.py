"""Upgrades under traffic: ``python tests/chaos/upgrades.py [--upgrades N] [--tunnels N] [--seconds N] [--download N]``.

The real daemon with tunnels over TLS, requests, uploads and downloads, loopback only, while two versions of it take
turns. Prints a summary in JSON; exit code 1 if a client was refused or cut off, or anything was left behind.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from chaos_upgrades import FAULTS, upgrades


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrades", type=int, default=100)
    parser.add_argument("--tunnels", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3600, help="for the upgrades, at most (default: 3600)")
    parser.add_argument("--download", type=int, default=100, help="MiB of a long download (default: 100)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = upgrades(
            Path(folder),
            count=args.upgrades,
            tunnels=args.tunnels,
            seconds=args.seconds,
            seed=1,
            download=args.download << 20,
            failing=len(FAULTS),
            warm=2,
        )
    print(json.dumps(summary, indent=1))
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
