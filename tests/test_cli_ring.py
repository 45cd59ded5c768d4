"""`balancer ring` as operators run it."""

import io
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from balancer.cli.command import main
from balancer.config.load import load
from balancer.ring.build import build
from balancer.ring.plan import side

LISTENER = '[[listener]]\nname = "l"\nbind = ["127.0.0.1:0"]\npool = "ide"\n'


def pool_text(names, name="ide", extra=""):
    backends = "".join(
        f'[[pool.backend]]\nname = "{each}"\naddress = "127.0.0.1:{4000 + index}"\n'
        for index, each in enumerate(names.split())
    )
    return f'[[pool]]\nname = "{name}"\n{extra}{backends}'


@pytest.fixture
def write(tmp_path):
    def to_file(name, *pools):
        path = tmp_path / name
        path.write_text(LISTENER + "".join(pools))
        return str(path)

    return to_file


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*args, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["balancer", "ring", *args])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main()
        output = capsys.readouterr()
        return code, output.out, output.err

    return command


def ring_of(path):
    return build(load(Path(path), 0).pool[0])


def test_explain(write, run):
    config = write("a.toml", pool_text("a b c"))
    owner, first, _ = ring_of(config).order(b"hunter2")
    code, out, err = run("explain", "hunter2", "--config", config)
    assert (code, err) == (0, "")
    assert f"this user's next connection goes to {owner}; if that host is lost, to {first}" in out
    assert "hunter2" not in out
    assert run("explain", "-", "--config", config, stdin=b"hunter2\nignored") == (0, out, "")


def test_explain_as_json(write, run):
    config = write("a.toml", pool_text("a b c"))
    code, out, _ = run("explain", "t%e9", "--config", config, "--json")
    assert code == 0
    assert [each["backend"] for each in json.loads(out)["candidates"]] == list(ring_of(config).order(b"t\xe9"))


def test_explain_reads_a_token_as_the_data_plane_does(write, run):
    config = write("a.toml", pool_text("a b c", extra="[pool.token]\ndecode = true\nmax_length = 20\n"))
    _, out, _ = run("explain", "%68unter2", "--config", config, "--json")
    assert json.loads(out)["owner"] == ring_of(config).owner(b"hunter2")
    for token, message in (("x" * 21, "too long"), ("", "empty")):
        code, out, err = run("explain", token, "--config", config)
        assert (code, out) == (1, "")
        assert message in err


def test_show(write, run):
    config = write("a.toml", pool_text("a b c"))
    code, out, _ = run("show", "--config", config)
    assert code == 0
    assert ring_of(config).fingerprint in out
    code, out, _ = run("show", "--config", config, "--json")
    assert json.loads(out)[0]["shares"] == side(ring_of(config)).shares


def test_plan(write, run, tmp_path):
    old, new = write("old.toml", pool_text("a b c")), write("new.toml", pool_text("a b d"))
    picture = tmp_path / "ring.svg"
    code, out, err = run("plan", "--config", old, "--to", new, "--json", "--svg", str(picture))
    assert (code, err) == (0, "")
    (found,) = json.loads(out)
    assert found["needless"] == 0
    assert found["before"]["fingerprint"] == ring_of(old).fingerprint
    assert found["after"]["fingerprint"] == ring_of(new).fingerprint
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert "of all tokens move (exact)" in run("plan", "--config", old, "--to", new)[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["show", "--config", "{old}", "--pool", "x"], 'no pool "x"; it has ide'),
        (["show", "--config", "{absent}"], "cannot be read"),
        (["explain", "t", "--config", "{two}"], "choose a pool with --pool: ide, other"),
        (["plan", "--config", "{old}", "--to", "{other}"], "the pools differ"),
        (["plan", "--config", "{old}", "--to", "{empty}"], "weight 0"),
        (["plan", "--config", "{two}", "--to", "{two}", "--svg", "{absent}"], "choose a pool"),
        (["plan", "--config", "{old}", "--to", "{old}", "--svg", "{absent}/x.svg"], "cannot write"),
    ],
)
def test_refusals_say_what_to_do(write, run, tmp_path, args, message):
    second = LISTENER.replace('"l"', '"m"').replace('"ide"', '"other"')
    files = {
        "old": write("old.toml", pool_text("a b")),
        "two": write("two.toml", pool_text("a b"), second, pool_text("c d", name="other").replace(":400", ":401")),
        "other": write("other.toml", pool_text("a b", name="other")),
        "empty": write("empty.toml", pool_text("a").replace('4000"\n', '4000"\nweight = 0.0\n')),
        "absent": str(tmp_path / "absent"),
    }
    other = Path(files["other"])
    other.write_text(other.read_text().replace('pool = "ide"', 'pool = "other"'))
    code, out, err = run(*(arg.format(**files) for arg in args))
    assert (code, out) == (1, "")
    assert message in err


def test_the_real_command(write):
    config = write("a.toml", pool_text("a b c"))
    found = subprocess.run(
        [sys.executable, "-m", "balancer", "ring", "explain", "-", "--config", config],
        input=b"hunter2\n",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert f"this user's next connection goes to {ring_of(config).owner(b'hunter2')}" in found.stdout.decode()
