"""Kills in upgrades: ``python tests/chaos/kills.py [--upgrades N] [--tunnels N] [--seed N]``.

The real daemon with tunnels over TLS and new clients, loopback only; at a random moment of each upgrade one of its
processes is killed with SIGKILL, at the end the supervisor. Prints a summary in JSON; exit code 1 if anything but the
clients of a worker that was killed came to harm. The same seed makes the same choices, not at the very same moments.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from chaos_upgrades import killings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrades", type=int, default=60)
    parser.add_argument("--tunnels", type=int, default=60)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    print(f"seed {args.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        summary = killings(Path(folder), count=args.upgrades, tunnels=args.tunnels, seed=args.seed)
    print(json.dumps(summary, indent=1))
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
