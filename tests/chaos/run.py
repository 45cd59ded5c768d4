"""The long run: ``python tests/chaos/run.py [--seconds N] [--tunnels N] [--seed N]``.

The real daemon with live tunnels, most of them over TLS, and steady requests, loopback only, while at random hosts are
killed, stopped, slowed and drained, processes of the daemon killed and stopped, and files reloaded. Prints a summary in
JSON; exit code 1 if anything was violated. The same seed makes the same choices, though not at the very same moments.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from chaos_run import chaos


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tunnels", type=int, default=500)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    parser.add_argument("--logs", type=Path, help="folder to write the daemon's access log and messages to")
    args = parser.parse_args()
    print(f"seed {args.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        summary, access, messages = chaos(
            Path(folder), tunnels=args.tunnels, seconds=args.seconds, seed=args.seed, hosts=args.hosts
        )
    if args.logs is not None:
        args.logs.mkdir(exist_ok=True)
        (args.logs / "access.jsonl").write_text(access)
        (args.logs / "messages.txt").write_text(messages)
    print(json.dumps(summary, indent=1))
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
