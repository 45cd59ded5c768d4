"""``python -m tools VERB [ARGUMENT ...]``: one entry point for everything a developer runs.

A verb starts the programs that do the work, one after the other, and exits with the first exit code that is not 0.
Arguments are handed to them: ``python -m tools test tests/ring -n 0``.
"""

import importlib.util
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ARGUMENTS = "..."
"""Where a command takes the arguments that follow the verb."""


@dataclass(frozen=True)
class Verb:
    """Commands of Python modules or scripts."""

    about: str
    commands: tuple[str, ...]
    extra: str = ""
    """The extra of pyproject.toml that has to be installed."""
    module: str = ""
    """What that extra brings."""
    own_help: bool = False
    """The command explains its arguments itself."""


VERBS = {
    "test": Verb("run the default tests (under five minutes on two cores)", ("-m pytest ...",)),
    "site": Verb("run the slow tests: peers, browsers, benchmarks (half an hour)", ("-m pytest -m site ...",)),
    "compiled": Verb(
        "compile the data plane in a copy of the tree and run the default tests there (ten minutes)",
        ("-m tools.compiled ...",),
        extra="compile",
        module="mypyc",
    ),
    "wheels": Verb(
        "build wheels with the compiled data plane, for each Python from 3.11 to 3.14",
        ("-m tools.wheels ...",),
        own_help=True,
    ),
    "lint": Verb("check style, format and types", ("-m ruff check .", "-m ruff format --check .", "-m mypy")),
    "coverage": Verb(
        "show which lines the default tests run, those of child processes included",
        ("-m coverage erase", "-m coverage run -m pytest ...", "-m coverage combine -q", "-m coverage report"),
        extra="coverage",
        module="coverage",
    ),
    "mutate": Verb("count the mutants that tests notice", ("-m tools.mutate ...",), own_help=True),
    "bench": Verb("measure the balancer beside its peers", ("-m bench ...",), own_help=True),
    "fuzz": Verb("mutate the input of every parser", ("tests/fuzz/run.py ...",), "fuzz", "atheris", own_help=True),
    "forms": Verb("compare the two forms of each reader of bytes, a million times", ("tests/http/two_forms.py ...",)),
    "chaos": Verb("kill hosts and processes under traffic", ("tests/chaos/run.py ...",), own_help=True),
}


def main(arguments: list[str]) -> int:
    """Return the exit code: 2 if the verb or its arguments are wrong or an extra is missing."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(f"{__doc__}\n" + "\n".join(f"  {name:10}{verb.about}" for name, verb in VERBS.items()))
        return 0 if arguments else 2
    name, *rest = arguments
    if (verb := VERBS.get(name)) is None:
        return _refuse(f"no verb {name!r}; there are {', '.join(VERBS)}")
    if not verb.own_help and {"-h", "--help"} & {*rest}:
        shown = "\n".join(f"  python {command}" for command in verb.commands)
        print(f"python -m tools {name}: {verb.about}. Runs:\n{shown}")
        return 0
    if verb.module and importlib.util.find_spec(verb.module) is None:
        return _refuse(f"{name} needs {verb.module}: run {sys.executable} -m pip install -e '.[{verb.extra}]'")
    if rest and not any(ARGUMENTS in command.split() for command in verb.commands):
        return _refuse(f"{name} takes no arguments")
    return _run(verb, rest)


def _run(verb: Verb, rest: list[str]) -> int:
    """Run every command, whatever became of the one before; return the first exit code that is not 0."""
    codes = []
    for command in verb.commands:
        words = [sys.executable]
        for word in command.split():
            words += rest if word == ARGUMENTS else [word]
        print(f"$ python {shlex.join(words[1:])}", file=sys.stderr, flush=True)
        codes.append(subprocess.run(words, cwd=ROOT, check=False).returncode)
    return next((code for code in codes if code), 0)


def _refuse(problem: str) -> int:
    print(f"python -m tools: {problem}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
