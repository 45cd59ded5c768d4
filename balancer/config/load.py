"""Load a configuration file: a ``Config``, or every problem with its line, in file order."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from balancer.config import messages, rules
from balancer.config.contents import NamedFiles
from balancer.config.file_access import unreadable
from balancer.config.finding import Finding, Key
from balancer.config.locate import lines, nearest
from balancer.config.model import Config
from balancer.config.named_files import FileReader
from balancer.config.salvage import repair
from balancer.config.scalars import shown
from balancer.config.toml_errors import explain
from balancer.errors import ConfigError, Problem, Refused

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Source:
    """A file and the lines of its keys."""

    path: Path
    document: dict[str, Any]
    lines: dict[Key, int]

    def problem(self, finding: Finding) -> Problem:
        """Return a finding with its file and line."""
        other = f" (see line {nearest(self.lines, finding.twin)})" if finding.twin else ""
        key = " > ".join(_label(self.document, finding.key))
        return Problem(str(self.path), nearest(self.lines, finding.key), key, finding.message + other)


@dataclass(frozen=True)
class Report:
    """The result of checking a file; ``config`` is None if there are ``problems``."""

    config: Config | None
    problems: list[Problem]
    warnings: list[Problem]
    """Legal but suspicious."""
    files: NamedFiles | None = None
    """What is in the files that it names; None if there are problems."""
    source: Source | None = None
    """None for a file that is not TOML."""

    def located(self, error: Refused) -> ConfigError | Refused:
        """Return an error with file and line, if it is about a value of this file."""
        if not error.key or self.source is None:
            return error
        return ConfigError([self.source.problem(Finding(error.key, str(error)))])


def load(path: Path, now: float) -> Config:
    """Load the configuration in ``path``. Raises ``ConfigError`` with every problem.

    ``now`` is the Unix time at which certificates have to be valid.
    """
    report = check(path, now)
    if report.config is None:
        raise ConfigError(report.problems)
    return report.config


def check(path: Path, now: float) -> Report:
    """Report the problems and warnings of the file ``path``, in file order; ``now`` is as for ``load``."""
    try:
        text = _read(path)
        return _validate(path, text, _parse(path, text), now)
    except ConfigError as error:
        return Report(None, error.problems, [])
    except RecursionError:
        return Report(None, [Problem(str(path), None, "", "brackets are nested too deeply")], [])


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from None
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(str(path), line, "", "is not UTF-8, the encoding of TOML files")]) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also Python's own limit on the digits of a number
        line, why = explain(text, error)
        raise ConfigError([Problem(str(path), line, "", f"is not TOML: {why}")]) from None


def _validate(path: Path, text: str, document: dict[str, Any], now: float) -> Report:
    context = {"base": path.absolute().parent}
    found: list[Finding] = []
    try:
        config = Config.model_validate(document, context=context)
    except ValidationError as error:
        found = messages.findings(error)
        repaired = tomllib.loads(text)
        repair(repaired, [each.key for each in found])
        config = Config.model_validate(repaired, context=context)
    broken = [each.key for each in found]
    reader = FileReader(config, now)
    files = reader.read()
    beyond = chain(rules.findings(config), reader.findings, unreadable(path, config))
    found += [each for each in beyond if not any(each.depends_on(key) for key in broken)]

    source = Source(path, document, lines(text))
    found.sort(key=lambda each: nearest(source.lines, each.key) or len(text))
    problems = [source.problem(each) for each in found if not each.warning]
    warnings = [source.problem(each) for each in found if each.warning]
    return Report(None if problems else config, problems, warnings, None if problems else files, source)


def _label(document: object, key: Key) -> Iterator[str]:
    """``pool "ide"``, ``backend "ide-03"``, ``weight``; elements without a name are numbered: ``bind #2``."""
    for i, part in enumerate(key):
        if isinstance(part, int):
            continue
        document = document.get(part) if isinstance(document, dict) else None
        text = part if _BARE_KEY.fullmatch(part) else shown(part)
        if i + 1 < len(key) and isinstance(index := key[i + 1], int):
            document = document[index] if isinstance(document, list) else None
            name = document.get("name") if isinstance(document, dict) else None
            text += f" {shown(name)}" if isinstance(name, str) else f" #{index + 1}"
        yield text
