"""Reloads under traffic: ``python tests/chaos/reloads.py [--reloads N] [--tunnels N] [--seconds N]``.

The real daemon with tunnels over TLS and steady requests, loopback only, while its file is changed and reloaded again
and again. Prints a summary in JSON; exit code 1 if a tunnel was cut, a request failed, or anything was left behind.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from chaos_reloads import reloads


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--tunnels", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600, help="for the reloads, at most (default: 600)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = reloads(Path(folder), count=args.reloads, tunnels=args.tunnels, seconds=args.seconds, seed=1)
    print(json.dumps(summary, indent=1))
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
