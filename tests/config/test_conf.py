"""The shipped files pass; prod.toml and docs/configuration.md cover every key with its true default."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from balancer.config.listener import AcmeConfig, AnswerConfig, CertificateConfig, ConditionConfig, RedirectConfig
from balancer.config.load import check, load
from balancer.config.model import Config
from balancer.config.pool import HashingConfig
from balancer.config.section import Section
from balancer.demo.certificate import CertificateFiles
from balancer.demo.setup import make_setup

CONF = Path(__file__).parents[2] / "conf"
PROD = (CONF / "prod.toml").read_text()
REFERENCE = (CONF.parent / "docs/configuration.md").read_text()
PLACEHOLDER = "this is the placeholder of the source tree, whose key is public: use a certificate of your own"
NOW = 1_907_712_000.0

INLINE = (AcmeConfig, CertificateConfig, HashingConfig, ConditionConfig, RedirectConfig, AnswerConfig)
"""Tables that are written in one line, with the key above them."""
BLOCK = re.compile(r"((?:^# .*\n)+)^(?:# )?([a-z0-9_]+) = (.+)$", re.MULTILINE)
TABLE = re.compile(r"^\[+([a-z._]+)\]+", re.MULTILINE)


@pytest.mark.parametrize("name", ["prod.toml", "demo.toml"])
def test_shipped_files_pass(name):
    report = check(CONF / name, NOW)
    assert report.problems == []
    assert [each.message for each in report.warnings] == [PLACEHOLDER]


def test_demo_toml_is_what_the_demo_runs(tmp_path):
    names = [backend.name for backend in load(CONF / "demo.toml", NOW).pool[0].backend]
    certificate = CertificateFiles(CONF / "tls/ide.example.crt", CONF / "tls/ide.example.key")
    made = load(make_setup(tmp_path, certificate, 8443, names).config, NOW)
    assert comparable(made) == comparable(load(CONF / "demo.toml", NOW))


def comparable(config):
    """The configuration without what is free or temporary: addresses, and paths in the demo's folder."""
    dump = config.model_dump(exclude={"state_dir": True, "admin": True, "log": {"access"}})
    for table in (*dump["listener"], *dump["pool"][0]["backend"]):
        table.pop("bind", None), table.pop("address", None)
    return dump


def manual(write):
    """The configuration that prod.toml would be if ``write(key, line, default)`` gave each documented line."""
    text = BLOCK.sub(lambda block: write(block[2], block[0].splitlines()[-1], default(block[1])), PROD)
    return Config.model_validate(tomllib.loads(text), context={"base": CONF}).model_dump()


def default(comment):
    """TOML text, "none", or None for a required key."""
    assert len(comment.splitlines()) > 1, f"no meaning in {comment}"
    found = re.search(r"^# Default: (.+)\.$", comment, re.MULTILINE)
    assert found or "# Required." in comment, comment
    return found and found[1]


def required_only(_key, line, default):
    return "" if default else line


def with_defaults(key, line, default):
    return line if default is None else f"{key} = {default}" if default != "none" else ""


def test_documented_defaults_are_the_defaults():
    assert manual(with_defaults) == manual(required_only)


def table_model(annotation):
    """The model of a table or of an array of tables; None for a plain value."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    return next(filter(None, map(table_model, get_args(annotation))), None)


def keys(section, table=""):
    """(table, key) of every key of the model."""
    for name, field in section.model_fields.items():
        inner = table_model(field.annotation)
        if inner and inner not in INLINE:
            yield from keys(inner, f"{table}.{name}".strip("."))
        else:
            yield table, field.alias or name


def test_every_key_is_documented():
    tables = [(0, ""), *((match.start(), match[1]) for match in TABLE.finditer(PROD))]
    documented = {
        ([name for start, name in tables if start <= block.start()][-1], block[2]) for block in BLOCK.finditer(PROD)
    }
    assert documented == set(keys(Config))


def test_the_reference_has_the_same_keys_and_defaults():
    tables = [(0, ""), *((match.start(), match[1]) for match in TABLE.finditer(PROD))]
    manual = {
        ([name for start, name in tables if start <= block.start()][-1], block[2], default(block[1]) or "required")
        for block in BLOCK.finditer(PROD)
    }
    reference, table = set(), ""
    for line in REFERENCE.splitlines():
        if line.startswith("##"):
            table = line.strip("# []").removesuffix("Top level")
        elif row := re.match(r"\| `([a-z0-9_]+)` \| (.+?) \|", line):
            reference.add((table, row[1], row[2].strip("`")))
    assert reference == manual
