"""What `check` says about the token of the admin API: what the daemon would refuse."""

import pytest

REST = """\
[[listener]]
name = "ide"
bind = ["127.0.0.1:80"]
pool = "ide"
[[pool]]
name = "ide"
backend = [{ name = "ide-01", address = "10.0.0.1:4001" }]
"""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("0123456789abcdef\n", None),
        ("0123456789abcde\n", "holds less than 16 characters; make one with `openssl rand -hex 32`"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_token(judge, tmp_path, content, why):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    problems, _ = judge(f'[admin]\nlisten = "127.0.0.1:9600"\ntoken_file = "token"\n{REST}')
    assert problems == ([f'3: admin > token_file: "{path}" {why}'] if why else [])
