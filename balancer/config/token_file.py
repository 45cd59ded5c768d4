"""The bearer token of the admin API, in the file that ``admin.token_file`` names."""

from pathlib import Path

from balancer.config.certificates import file_name, read_file

MIN_TOKEN = 16
"""Characters of the shortest token that is accepted."""


def read_token(path: Path) -> bytes:
    """Return the token in a file. Raises ``ValueError`` that names file and problem."""
    token = read_file(path).strip()
    if len(token) < MIN_TOKEN:
        hint = "make one with `openssl rand -hex 32`"
        raise ValueError(f"{file_name(path)} holds less than {MIN_TOKEN} characters; {hint}")
    return token
