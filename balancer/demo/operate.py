"""What an operator does, at the demo's prompt: each is a verb of `balancer`, which is shown and run."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import trio

from balancer.demo.users import NAMES, token_of


def verb_of(words: list[str]) -> list[str] | None:
    """Return the verb of `balancer` that a line at the prompt stands for, or None if it is no such line."""
    match words:
        case [("drain" | "ready") as state, host]:
            return ["backend", state, host]
        case ["weight", host, weight]:
            return ["backend", "weight", host, weight]
        case ["pin", user, host]:
            return ["pin", _token(user), host]
        case ["unpin", user]:
            return ["unpin", _token(user)]
    return None


def shown(verb: list[str], config: Path) -> str:
    """Return the command for a shell in this directory, whether or not the command that runs is on its PATH."""
    program = Path(sys.argv[0])
    found = shutil.which("balancer")
    if found is not None and os.path.realpath(found) == os.path.realpath(program):
        command = ["balancer"]
    elif program.name == "balancer":
        command = [str(program)]
    else:
        command = [sys.executable, "-m", "balancer"]
    return shlex.join([*command, *verb, "--config", str(config)])


async def operate(verb: list[str], config: Path) -> str:
    """Run a verb of `balancer` and return what it prints."""
    command = [sys.executable, "-m", "balancer", *verb, "--config", str(config)]
    done = await trio.run_process(
        command, stdin=subprocess.DEVNULL, capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode(errors="replace").rstrip()


def _token(user: str) -> str:
    return token_of(user) if user in NAMES else user
