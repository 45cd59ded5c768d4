"""Short chaos runs; ``run.py`` makes long ones with 500 tunnels, ``reloads.py`` a thousand reloads with 1,000."""

from random import SystemRandom

import pytest
from chaos_actions import ACTIONS
from chaos_reloads import reloads
from chaos_run import chaos

pytestmark = pytest.mark.site


def test_nothing_is_lost_while_hosts_come_and_go(tmp_path):
    seed = SystemRandom().randrange(1 << 32)
    summary, _, messages = chaos(tmp_path, tunnels=30, seconds=4, seed=seed, hosts=3, every=0.2)
    assert not summary["violations"], f"seed {seed}: {summary['violations']}\n{messages}"
    counts = summary["counts"]
    # How many depends on the machine, and on how long hosts hang by this seed.
    assert counts["messages answered"]
    assert counts["GET 200"]
    assert any(f"action: {action.__name__}" in counts for action in ACTIONS)


def test_reloads_cut_nobody_off(tmp_path):
    summary = reloads(tmp_path, count=15, tunnels=20, seconds=60, seed=1)
    assert not summary["violations"]
    assert summary["reloads"] == 15
    assert summary["counts"]["GET 200"]
