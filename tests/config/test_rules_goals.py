"""Where the requests of a listener go: what `check` says about pool, redirect and acme_challenge."""

import pytest

REST = """\
[[listener]]
name = "tls"
bind = ["127.0.0.1:443"]
pool = "ide"
mode = "tcp"
[[pool]]
name = "ide"
backend = [{ name = "ide-01", address = "10.0.0.1:4001" }]
"""
AT = 'listener "plain"'


def test_a_folder_of_challenges_that_is_not_there(judge, tmp_path):
    folder = tmp_path / "acme"
    goal = f'pool = "ide"\nacme_challenge = {{ folder = "{folder}" }}'
    _, warnings = judged(judge, goal)
    assert warnings == [f'5: {AT} > acme_challenge > folder: "{folder}" is not a folder yet']
    folder.mkdir()
    assert judged(judge, goal) == ([], [])


def judged(judge, keys):
    return judge(f'[[listener]]\nname = "plain"\nbind = ["127.0.0.1:80"]\n{keys}\n{REST}')


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('pool = "ide"', None),
        ("", f"{AT} > pool: missing: a listener needs the name of the pool behind it, or a redirect"),
        (
            'redirect = "https"',
            f"{AT} > redirect: no listener has a tls table, so there is no host to redirect to",
        ),
        (
            'pool = "ide"\nredirect = "https"',
            f"{AT} > redirect: a listener has a pool or a redirect: remove one of them",
        ),
        (
            'mode = "tcp"\nredirect = "https"',
            f'{AT} > redirect: is for listeners with mode = "http" and without tls',
        ),
        (
            'redirect = "https://ide.example:65536"',
            f"{AT} > redirect: expected a port of at most 65535, not 65536",
        ),
        (
            'redirect = "https://ide.example:"',
            f'{AT} > redirect: expected "https" or "https://host:port", not "https://ide.example:"',
        ),
        ('pool = "ide"\nacme_challenge = {}', f"{AT} > acme_challenge: needs one of pool and folder"),
        (
            'pool = "ide"\nacme_challenge = { pool = "ide", folder = "x" }',
            f"{AT} > acme_challenge: needs one of pool and folder",
        ),
        (
            'pool = "ide"\nacme_challenge = { pool = "idle" }',
            f'{AT} > acme_challenge > pool: no pool is named "idle"; did you mean "ide"?',
        ),
        (
            'pool = "ide"\nmode = "tcp"\nacme_challenge = { folder = "x" }',
            f'{AT} > acme_challenge: mode "tcp" does not answer requests',
        ),
    ],
)
def test_goals(judge, keys, problem):
    problems, _ = judged(judge, keys)
    assert [each.partition(": ")[2] for each in problems] == ([problem] if problem else [])
