"""As many descriptors as the system grants, and a word where that is too few."""

import resource

import pytest
from admin_rig import AdminDaemon
from harness import children

SOFT = 256


@pytest.fixture
def little():
    """Whoever is started meanwhile has a low limit, which it may raise."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("little")
def test_takes_what_it_is_granted_and_says_if_that_is_too_little(tmp_path):
    with AdminDaemon(tmp_path, limits={"max_connections": 1_000_000}) as daemon:
        for pid in (daemon.process.pid, *children(daemon.process.pid)):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            assert SOFT < soft == hard
        said = daemon.stderr.wait_for(lambda line: "file descriptors in each worker" in line)
        assert f"takes about 2000256 file descriptors in each worker, and a process may have {hard}" in said
