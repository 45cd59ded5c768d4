"""Change the code in small ways and count the changes that tests notice.

A seed chooses the mutants, so that a score can be repeated. Those that survive are printed as diffs: each is a missing
test, or code that makes no difference. Exit code 1 if the score is below ``--at-least``.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from random import Random

from tools.mutate.mutants import Mutant, mutants
from tools.mutate.runner import Copy, MutationError
from tools.mutate.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Return 0, 1 if the score is too low, or 2 if there is none."""
    args = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the copies are removed
    targets = [target for target in TARGETS if not args.only or target.package in args.only]
    chosen = _chosen(targets, Random(args.seed), args.count)
    print(f"{len(chosen)} mutants, seed {args.seed}", flush=True)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
            survivors = _survivors(chosen, targets, Path(folder), args.jobs)
    except MutationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{(time.monotonic() - began) / 60:.0f} minutes")
    return 0 if _report(chosen, survivors) >= args.at_least else 1


def _chosen(targets: list[Target], random: Random, count: int) -> list[tuple[Target, Mutant]]:
    """Return mutants of as many different places, in the order of the files."""
    places = [
        (target, place) for target in targets for source in target.sources(ROOT) for place in mutants(ROOT, source)
    ]
    picked = sorted(random.sample(range(len(places)), min(count, len(places))))
    return [(places[number][0], random.choice(places[number][1])) for number in picked]


def _survivors(
    chosen: list[tuple[Target, Mutant]], targets: list[Target], folder: Path, jobs: int
) -> list[tuple[Target, Mutant]]:
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(jobs):
        copies.put(Copy(ROOT, folder / f"{number}"))
    timeouts: dict[Target, float] = {}

    def baseline(target: Target) -> None:
        copy = copies.get()
        try:
            timeouts[target] = 30 + 5 * copy.baseline(list(target.tests))
        finally:
            copies.put(copy)

    def survives(pair: tuple[Target, Mutant]) -> bool:
        target, mutant = pair
        copy = copies.get()
        try:
            noticed = copy.notices(mutant, target.tests_for(mutant.path, ROOT), timeouts[target])
        finally:
            copies.put(copy)
        if noticed:
            print(".", end="", flush=True)
        else:
            print(f"\nsurvived: {mutant.path}:{mutant.line}: {mutant.change}\n{mutant.diff()}", end="", flush=True)
        return not noticed

    with ThreadPoolExecutor(jobs) as threads:
        try:
            list(threads.map(baseline, targets))
            return [pair for pair, survived in zip(chosen, threads.map(survives, chosen), strict=True) if survived]
        finally:
            threads.shutdown(cancel_futures=True)  # after an error or Ctrl-C, those that have not begun


def _report(chosen: list[tuple[Target, Mutant]], survivors: list[tuple[Target, Mutant]]) -> float:
    """Print how many of each file and package were noticed; return the percentage of all."""
    total, lived = Counter[str](), Counter[str]()
    for pairs, counter in ((chosen, total), (survivors, lived)):
        for target, mutant in pairs:
            counter.update([str(mutant.path), target.package, "all"])
    for name in sorted(total, key=lambda name: (name == "all", name)):
        killed = total[name] - lived[name]
        print(f"{name:40}{killed:5} of {total[name]:4}{100 * killed / total[name]:5.0f} %")
    return 100 * (1 - lived["all"] / max(1, total["all"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tools mutate", description=__doc__)
    packages = [target.package for target in TARGETS]
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="chooses the mutants (1)")
    parser.add_argument("--count", type=int, default=300, metavar="N", help="mutants (300)")
    parser.add_argument("--only", nargs="+", choices=packages, metavar="PACKAGE", help=f"of {', '.join(packages)}")
    parser.add_argument("--at-least", type=float, default=85, metavar="PERCENT", help="score to reach (85)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="mutants tested at the same time (2)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
