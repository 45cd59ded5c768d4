"""What the documentation promises: its links lead somewhere, its commands parse, its metrics exist."""

import re
import shlex
from pathlib import Path

import pytest

from balancer.cli.command import _parser
from balancer.config.load import check

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
PLACEHOLDERS = {"W": "1", "TIME": "2h"}

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page):
    return FENCE.sub("", page.read_text())


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page):
    """Every command line of the ``balancer`` command, in code blocks and in code spans."""
    text = page.read_text()
    for _, language, block in FENCE.findall(text):
        if language == "sh":
            yield from re.findall(r"^ *(balancer .+)$", block.replace("\\\n", " "), re.MULTILINE)
    yield from re.findall(r"`(balancer [^`]+)`", " ".join(FENCE.sub("", text).split()))


def exit_code(parser, words):
    try:
        parser.parse_args(words)
    except SystemExit as end:
        return end.code
    return 0


@by_page
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text()):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@by_page
def test_lines_are_short(page):
    lines = [line for line in prose(page).splitlines() if not line.lstrip().startswith("|")]
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_commands_parse(page):
    parser = _parser()
    for command in commands(page):
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command, comments=True)[1:]]
        assert exit_code(parser, words) == 0, command


def test_metrics_exist():
    known = set(re.findall(r'"(balancer_[a-z_]+)"', (ROOT / "balancer/admin/metrics.py").read_text()))
    for page in [ROOT / "README.md", *DOCS]:
        for name in re.findall(r"\bbalancer_[a-z_]+\b", page.read_text()):
            assert re.sub("_(total|info)$", "", name) in known, f"{page.name}: {name}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    assert [page.name for page in DOCS if page.name != "README.md" and f"]({page.name})" not in index] == []


def test_the_configuration_in_the_readme_passes(tmp_path):
    (text,) = (block for _, language, block in FENCE.findall((ROOT / "README.md").read_text()) if language == "toml")
    tls = ROOT / "conf/tls"
    text = text.replace("tls/ide.crt", f"{tls}/ide.example.crt").replace("tls/ide.key", f"{tls}/ide.example.key")
    (tmp_path / "balancer.toml").write_text(text)
    assert check(tmp_path / "balancer.toml", 1_907_712_000.0).problems == []
