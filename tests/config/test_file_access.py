"""Root checks a file for a service that has a user of its own."""

import os

import pytest

from balancer.config import file_access
from balancer.config.file_access import unreadable
from balancer.config.model import Config

SERVICE = 64_321
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def site(tmp_path):
    """A configuration, its key, and a folder that everybody may enter."""
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o1:
            folder.chmod(folder.stat().st_mode | 0o1)
    key = tmp_path / "tls" / "site.key"
    key.parent.mkdir()
    for file in (key, key.with_name("site.crt"), tmp_path / "balancer.toml"):
        file.touch()
        file.chmod(0o640)
        os.chown(file, 0, SERVICE)
    return tmp_path / "balancer.toml", key


def warnings(site):
    file, key = site
    tls = {"certificates": [{"cert": str(key.with_name("site.crt")), "key": str(key)}]}
    listener = {"name": "web", "bind": ["127.0.0.1:1"], "pool": "ide", "tls": tls}
    pool = {"name": "ide", "backend": [{"name": "a", "address": "127.0.0.1:1"}]}
    found = list(unreadable(file, Config.model_validate({"listener": [listener], "pool": [pool]})))
    assert all(each.warning for each in found)
    return [each.key[-1] for each in found]


def test_files_of_the_group_are_well(site):
    assert warnings(site) == []


@pytest.mark.parametrize(("owner", "group", "mode"), [(0, 0, 0o640), (0, SERVICE, 0o600), (SERVICE + 1, 0, 0o400)])
def test_a_key_that_the_service_cannot_read(site, owner, group, mode):
    os.chown(site[1], owner, group)
    site[1].chmod(mode)
    assert warnings(site) == ["key"]


def test_a_folder_that_the_service_cannot_enter(site):
    site[1].parent.chmod(0o700)
    assert warnings(site) == ["cert", "key"]
    os.chown(site[1].parent, 0, SERVICE)
    site[1].parent.chmod(0o710)
    assert warnings(site) == []


def test_a_service_that_owns_its_files(site):
    os.chown(site[0], SERVICE, 0)
    assert warnings(site) == ["cert", "key"]
    for file in (site[1], site[1].with_name("site.crt")):
        os.chown(file, SERVICE, 0)
        file.chmod(0o400)
    assert warnings(site) == []


def test_nothing_is_known_of_a_service_if_all_is_roots(site, monkeypatch):
    site[1].chmod(0o600)
    os.chown(site[0], 0, 0)
    assert warnings(site) == []
    os.chown(site[0], 0, SERVICE)
    assert warnings(site) == ["key"]
    monkeypatch.setattr(file_access.os, "geteuid", lambda: SERVICE)
    assert warnings(site) == []
