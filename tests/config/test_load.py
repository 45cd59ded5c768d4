"""Loading: every problem in one go, with line and key, in words without jargon; and never any other exception."""

import re
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.config.load import check, load
from balancer.config.scalars import Address
from balancer.errors import ConfigError

VALID = """\
workers = 2
state_dir = "state"

[admin]
listen = "127.0.0.1:0"

[log]
access = "logs/access.log"

[timeouts]
idle = "500ms"

[[listener]]
name = "ide"
bind = ["127.0.0.1:8443", "[::1]:8443"]
pool = "ide"
proxy_protocol = "accept"
trusted = ["10.0.0.0/8"]

[[pool]]
name = "ide"
token = { param = "t", missing = "spread" }
ring.algorithm = "maglev"
[pool.health]
type = "tcp"
[[pool.backend]]
name = "ide-01"
address = "10.0.0.1:4001"
[[pool.backend]]
name = "ide-02"
address = "unix:/run/ide-02.sock"
weight = 2
"""


def test_a_valid_file(tmp_path):
    path = tmp_path / "balancer.toml"
    path.write_text(VALID)
    config = load(path, 0)
    assert (config.workers, config.state_dir) == (2, tmp_path / "state")
    assert config.log.access == tmp_path / "logs/access.log"
    assert config.timeouts.idle == 0.5
    assert config.listener[0].bind == (Address("127.0.0.1", 8443), Address("::1", 8443))
    assert config.listener[0].trusted == (ip_network("10.0.0.0/8"),)
    assert config.pool[0].token.param == "t"
    assert [each.weight for each in config.pool[0].backend] == [1, 2]


def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path):
    path = tmp_path / "balancer.toml"
    path.write_text(VALID)
    config = load(path, 0)
    path.write_bytes(b"\xef\xbb\xbf" + VALID.replace("\n", "\r\n").encode())
    assert load(path, 0) == config


def test_the_line_of_a_problem_behind_windows_line_ends(tmp_path):
    path = tmp_path / "balancer.toml"
    path.write_bytes(VALID.replace("\n", "\r\n").replace('"maglev"', '"magic"').encode())
    assert [each.line for each in check(path, 0).problems] == [23]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("workers = 2", "workers = 0"), '1: workers: expected "auto" or a whole number from 1 to 64, not 0'),
        (("workers = 2", "worker = 2"), '1: worker: unknown key; did you mean "workers"?'),
        (("workers = 2", "limits = 5"), "1: limits: expected a table, not 5"),
        (("workers = 2", 'slow_start = "1m"'), "1: slow_start: unknown key here; it belongs to [pool.health]"),
        (("workers = 2", '"sp ace" = 2'), '1: "sp ace": unknown key; valid keys here: workers, state_dir, admin, '),
        (('"500ms"', "5"), '11: timeouts > idle: expected a duration such as "500ms", "10s", '),
        (('"logs/access.log"', '""'), '8: log > access: expected a path, not ""'),
        (('["10.0.0.0/8"]', '["x", 5]'), '18: listener "ide" > trusted #1: expected a network such as '),
        (('pool = "ide"', "pool = 1"), '16: listener "ide" > pool: expected a string, not 1'),
        (('pool = "ide"\n', ""), '13: listener "ide" > pool: missing: a listener needs the name of the pool behind it'),
        (('"accept"', '"v2"'), '17: listener "ide" > proxy_protocol: expected "off" or "accept", not "v2"'),
        (('["127.0.0.1:8443", "[::1]:8443"]', "[]"), '15: listener "ide" > bind: empty: a listener needs addresses, '),
        (('["127.0.0.1:8443", "[::1]:8443"]', '"a"'), '15: listener "ide" > bind: expected an array, such as ["a"], '),
        (('\nname = "ide"\nbind', '\nname = "i d"\nbind'), '14: listener "i d" > name: expected 1 to 64 letters, '),
        (
            ("[[pool]]\nname", "[[pool]]\n# name"),
            '20: pool #1 > name: missing: a pool needs a name, such as name = "ide"',
        ),
        (('"t"', '""'), '22: pool "ide" > token > param: expected 1 to 64 letters, digits, '),
        (('param = "t"', "max_length = 0"), '22: pool "ide" > token > max_length: expected at least 1, not 0'),
        (
            ('param = "t"', "max_length = 65537"),
            '22: pool "ide" > token > max_length: expected at most 65536, not 65537',
        ),
        (('param = "t"', "decode = 1"), '22: pool "ide" > token > decode: expected true or false, not 1'),
        (('param = "t"', "max_length = 1.0"), '22: pool "ide" > token > max_length: expected a whole number, not 1.0'),
        (
            ("weight = 2", "weight = nan"),
            '32: pool "ide" > backend "ide-02" > weight: expected a finite number, not nan',
        ),
        (("weight = 2", "weight = 'x'"), '32: pool "ide" > backend "ide-02" > weight: expected a number, not "x"'),
        (
            ("weight = 2", "wieght = 2"),
            '32: pool "ide" > backend "ide-02" > wieght: unknown key; did you mean "weight"?',
        ),
        (
            ('type = "tcp"', 'path = "x"'),
            '25: pool "ide" > health > path: expected a path that starts with "/" and has no ',
        ),
        (
            ("[[listener]]", "[listener]"),
            "13: listener: expected an array, such as tables that start with [[listener]], ",
        ),
        (("[log]", "[[log]]"), "7: log: expected a table, not an array"),
    ],
)
def test_one_wrong_value(judge, change, expected):
    assert change[0] in VALID
    problems, _ = judge(VALID.replace(*change, 1))
    assert problems[0].startswith(expected)
    assert {each.partition(":")[0] for each in problems} == {expected.partition(":")[0]}, "a follow-up is hearsay"


def test_an_empty_file_needs_listeners_and_pools(judge):
    problems, _ = judge("")
    assert problems == [
        "listener: missing: the file needs at least one [[listener]]",
        "pool: missing: the file needs at least one [[pool]]",
    ]


def test_wrong_values_do_not_hide_broken_rules(judge):
    wrong = VALID.replace('pool = "ide"', 'pool = "idle"').replace('"tcp"', '"tpc"').replace('"ide-02"', '"ide-01"')
    problems, _ = judge(wrong.replace("weight = 2", 'weight = "2"').replace('["10.0.0.0/8"]', "[5]"))
    assert [each.split(": ", 2)[:2] for each in problems] == [
        ["16", 'listener "ide" > pool'],
        ["18", 'listener "ide" > trusted #1'],
        ["25", 'pool "ide" > health > type'],
        ["30", 'pool "ide" > backend "ide-01" > name'],
        ["32", 'pool "ide" > backend "ide-01" > weight'],
    ]


def test_nothing_is_said_about_rules_that_rest_on_wrong_values(judge):
    wrong = VALID.replace('mode = "http"', "").replace('pool = "ide"', 'pool = "ide"\nmode = "tpc"\nkey = "sni"')
    assert len(judge(wrong)[0]) == 1


def test_a_secret_is_not_shown(judge):
    for seed in ("12345678", '["hunter2"]', '"hunter2"'):
        problems, warnings = judge(VALID.replace('ring.algorithm = "maglev"', f"ring.seed = {seed}"))
        assert problems
        assert "hunter2" not in str(problems + warnings)
        assert "12345678" not in str(problems + warnings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = = 2\n", "2: is not TOML: Invalid value"),
        ("a = 1\na = 2\n", "2: is not TOML: Cannot overwrite a value"),
        ("a = [1,", "1: is not TOML: "),
        ("a = " + "9" * 5000, "is not TOML: "),
        ("a = " + "[" * 5000, "brackets are nested too deeply"),
        ("a = " + "[" * 400 + "]" * 400, ""),
    ],
)
def test_what_is_not_toml(judge, text, expected):
    problems, _ = judge(text)
    assert problems[0].startswith(expected)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"# fine\n# caf\xe9\n")
    for name, says in [
        ("none.toml", "none.toml: cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("latin.toml", "latin.toml:2: is not UTF-8"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(says)) as caught:
            load(tmp_path / name, 0)
        assert len(caught.value.problems) == 1


VALUES = st.sampled_from(
    ["true", "-1", "0", "1e400", "nan", "0x" + "f" * 6000, "''", "'x'", "[]", "{}", "[[1]]", "1979-05-27", "{a.b=1}"]
)
LINES = VALID.splitlines()
SPOTS = st.integers(0, len(VALID))


@st.composite
def corrupted(draw):
    """The valid file with values replaced by ones of other types, lines dropped, and bytes deleted and inserted."""
    kept = [line for line in LINES if draw(st.integers(0, 9)) or not line]
    changed = [re.sub("= .*", f"= {draw(VALUES)}", line) if draw(st.integers(0, 9)) == 0 else line for line in kept]
    data = bytearray("\n".join(changed).encode())
    for at, size, insert in draw(st.lists(st.tuples(SPOTS, st.integers(0, 3), st.binary(max_size=3)), max_size=2)):
        data[at : at + size] = insert
    return bytes(data)


@given(corrupted())
@example(b'listener = [{bind = ["127.0.0.1:1", 5], tls = {certificates = [{}, 5]}}]\npool = [[], {backend = [[]]}]')
@example(b'[[pool]]\nname="a"\nbackend=[{name="b", address="10.0.0.1:0", id="x"}]\nring={algorithm="haproxy"}')
def test_a_corrupted_file_gives_problems_or_a_configuration(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "corrupted.toml"
    path.write_bytes(data)
    report = check(path, 0)
    assert (report.config is None) == bool(report.problems)
    for problem in report.problems:
        assert str(problem).isprintable()
        assert not re.search("pydantic|Input should|Traceback", str(problem))
    numbers = [each.line for each in report.problems if each.line is not None]
    assert numbers == sorted(numbers)
    assert all(1 <= number <= data.count(b"\n") + 1 for number in numbers)
