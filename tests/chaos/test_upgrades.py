"""Short runs of ``upgrades.py``, which makes a hundred upgrades with 1,000 tunnels, and of ``kills.py``."""

from random import SystemRandom

import pytest
from chaos_upgrades import FAULTS, killings, upgrades


def test_an_upgrade_cuts_nobody_off(tmp_path):
    summary = upgrades(tmp_path, count=1, tunnels=6, seconds=60, seed=1, download=1 << 20, failing=0, warm=0)
    assert not summary["violations"]
    assert summary["counts"]["upgrades"] == 1
    for what in ("new", "uploader", "dawdler", "downloader", "further tabs", "messages answered", "GET 200"):
        assert summary["counts"][what], what


@pytest.mark.site
def test_releases_that_fail_cut_nobody_off(tmp_path):
    count = len(FAULTS)
    summary = upgrades(tmp_path, count=count, tunnels=30, seconds=300, seed=1, download=4 << 20, failing=count, warm=2)
    assert not summary["violations"]
    assert summary["counts"]["upgrades that went back"] == count


@pytest.mark.site
def test_processes_that_are_killed_in_the_middle(tmp_path):
    seed = SystemRandom().randrange(1 << 32)
    summary = killings(tmp_path, count=12, tunnels=12, seed=seed)
    assert not summary["violations"], f"seed {seed}"
