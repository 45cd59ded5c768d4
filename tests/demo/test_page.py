"""The page allows its own code and nothing else."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from balancer.demo.page import load_page

PAGE = load_page()
HTML = PAGE.body.decode()


@pytest.mark.parametrize(("tag", "directive"), [("style", "style-src"), ("script", "script-src")])
def test_inline_code_is_allowed_by_its_hash(tag, directive):
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
    digest = b64encode(sha256(text.encode()).digest()).decode()
    assert f"{directive} 'sha256-{digest}';" in PAGE.policy
    assert len(text) > 1000


def test_nothing_comes_from_elsewhere():
    assert "default-src 'none'" in PAGE.policy
    assert "unsafe" not in PAGE.policy
    addresses = set(re.findall(r"""(?:https?:)?//[\w.]+[^\s"']*""", HTML))
    assert {each for each in addresses if "w3.org/2000/svg" not in each} == set()
    assert not re.search(r"""<\w[^>]*\s(?:on\w+|style|src)=""", HTML), "blocked by the policy"
