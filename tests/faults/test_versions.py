"""A state directory that a newer version has written: refused with a way out, which keeps a copy."""

import json
import subprocess

import pytest
from admin_rig import AdminDaemon
from harness import COMMAND

from balancer.overlay.entries import FORMAT


def test_refused_and_discarded_on_demand(tmp_path, monkeypatch):
    with AdminDaemon(tmp_path) as daemon:
        assert daemon.ask("PUT", "./backends/ide-02/state", {"state": "drain"}).status == 200
    journal = tmp_path / "state" / "journal.jsonl"
    last = json.loads(journal.read_text().splitlines()[-1])
    last |= {"seq": last["seq"] + 1, "min": FORMAT + 1, "changes": [{"op": "teleport", "backend": "ide-01"}]}
    with journal.open("a") as file:
        file.write(json.dumps(last) + "\n")
    program = [*COMMAND, daemon.config]
    refused = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert f"format {FORMAT + 1}" in refused.stderr
    assert "--discard-newer" in refused.stderr
    assert "Traceback" not in refused.stderr
    monkeypatch.setattr("harness.COMMAND", [*COMMAND[:-1], "--discard-newer", "--config"])
    with AdminDaemon(tmp_path) as daemon:
        assert daemon.backend("ide-02")["state"] == "drain"
        entries = daemon.get("./journal")["entries"]
        assert last["seq"] not in [each["seq"] for each in entries]
        with pytest.raises(KeyError):
            entries[-1]["min"]
    (copy,) = journal.parent.glob("journal.jsonl.newer-*")
    assert json.loads(copy.read_text().splitlines()[-1])["min"] == FORMAT + 1
