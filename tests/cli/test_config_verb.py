"""What is active beside what is in the file, as operators ask for it."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon

SEED = "secret-" + 32 * "5"
WHEN = r"by \S.* on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+"


@pytest.fixture
def own(tmp_path):
    with AdminDaemon(tmp_path, pool_keys={"ring": {"hash": "blake2b", "seed": SEED}}) as running:
        yield running


def run(own, *args):
    command = [sys.executable, "-m", "balancer", *args, "--admin", own.socket]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def done(own, *args):
    code, out, err = run(own, *args)
    assert code == 0, err
    return out


def change(own, *args):
    plan = json.loads(done(own, "ring", "plan", *args, "--json"))
    assert own.ask("POST", f"/v1/plans/{plan['id']}/apply").status == 200


def test_what_is_not_in_the_file_is_marked(own):
    change(own, "--add", "ide-06=127.0.0.1:9")
    done(own, "backend", "weight", "ide-01", "3")
    done(own, "backend", "drain", "ide-02")
    change(own, "--remove", "ide-03")
    marks = (
        f"ide-06 is not in the file, added {WHEN}",
        f"ide-01 has weight 1 in the file, set to 3 {WHEN}",
        f"ide-02 is ready in the file, set to drain {WHEN}",
        f"ide-03 has weight 1 in the file, removed from the ring {WHEN}",
    )
    for verb in (["status"], ["backend", "list"], ["reload", "--dry-run"], ["config", "diff"]):
        out = done(own, *verb)
        for mark in marks:
            assert re.search(f"{mark}$", out, re.MULTILINE), (verb, out)


def test_nothing_to_mark(own):
    done(own, "backend", "weight", "ide-01", "3")
    done(own, "backend", "weight", "ide-01", "1")
    done(own, "backend", "drain", "ide-02")
    done(own, "backend", "ready", "ide-02")
    assert done(own, "config", "diff") == "the file is the active configuration\n"
    assert "in the file" not in done(own, "status")


def test_who_decided_outlives_the_daemon(own, tmp_path):
    done(own, "backend", "weight", "ide-01", "3")
    before = own.get("./backends")["not_in_file"]
    assert [each["backend"] for each in before] == ["ide-01"]
    own.stop()
    with AdminDaemon(tmp_path, pool_keys={"ring": {"hash": "blake2b", "seed": SEED}}) as again:
        assert again.get("./backends")["not_in_file"] == before


def test_diff_shows_what_a_reload_would_change(own):
    file = Path(own.config)
    file.write_text(file.read_text() + "\n[limits]\nmax_head_bytes = 16384\n")
    assert "limits > max_head_bytes: " in done(own, "config", "diff")
    assert json.loads(done(own, "config", "diff", "--json"))["changes"][0]["key"] == "limits > max_head_bytes"
    file.write_text("nonsense")
    code, out, err = run(own, "config", "diff")
    assert (code, out) == (1, "")
    assert f"{file}:1: is not TOML" in err


def test_values_of_fields_may_be_credentials(tmp_path):
    fields = {"set": {"Authorization": SEED}, "add": {"X-Api-Key": [SEED, "{client_address}"]}}
    with AdminDaemon(tmp_path, pool_keys={"request_fields": fields}) as own:
        out = done(own, "config", "show")
        found = tomllib.loads(out)["pool"][0]["request_fields"]
        assert re.fullmatch("digest:[0-9a-f]{16}", found["set"]["Authorization"])
        assert [each[:7] for each in found["add"]["X-Api-Key"]] == ["digest:", "digest:"]
        file = Path(own.config)
        file.write_text(file.read_text().replace(SEED, f"{SEED}-new", 1))
        out += done(own, "config", "show", "--json") + done(own, "reload", "--dry-run") + done(own, "reload")
        assert SEED not in out + str(own.stderr)
        assert "request_fields > set: changes (secret)" in out


def test_show_prints_what_is_active_without_secrets(own):
    out = done(own, "config", "show")
    found = tomllib.loads(out)
    assert [each["name"] for each in found["pool"][0]["backend"]] == list(NAMES)
    assert re.fullmatch("digest:[0-9a-f]{16}", found["pool"][0]["ring"]["seed"])
    assert "\n[timeouts]\n" in out
    assert '\n# head = "10s"\n' in out, "defaults are shown, too"
    assert SEED not in out + done(own, "config", "show", "--json")
