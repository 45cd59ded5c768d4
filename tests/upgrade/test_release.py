"""Which release is meant, and whose releases are refused."""

import os
import sys

import pytest

from balancer.errors import Refused
from balancer.upgrade.release import find_release, refuse_foreign, running

ME = os.getuid()
root_only = pytest.mark.skipif(ME != 0, reason="only root can give files away")


@pytest.fixture
def releases(tmp_path):
    folder = tmp_path / "releases"
    for name in ("1.1", "1.2"):
        (folder / name / "bin").mkdir(parents=True, mode=0o755)
        (folder / name / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
        (folder / name / "lib").mkdir()
        (folder / name / "lib" / "module.py").write_text("")
    return folder


def find(releases, wanted, *, any_path=False):
    return find_release(wanted, releases, str(releases / "1.1"), any_path=any_path)


def test_by_name(releases):
    found = find(releases, "1.2")
    assert (found.folder, found.python) == (str(releases / "1.2"), str(releases / "1.2" / "bin" / "python"))
    assert found.isolated


def test_the_current_one_and_where_there_is_none_our_own(releases):
    assert find(releases, None).folder == str(releases / "1.1")
    (releases / "current").symlink_to("1.2")
    assert find(releases, None).folder == str(releases / "1.2")
    assert find(releases, "current").folder == str(releases / "1.2")


@pytest.mark.parametrize("wanted", ["../1.2", "/etc", "./1.2", "1.2/", "..", "", "1.2\n", ".hidden", "a" * 65])
def test_over_tcp_nothing_but_a_name_is_taken(releases, wanted):
    with pytest.raises(Refused, match=r"a release is named as in|is no release"):
        find(releases, wanted)


def test_a_path_over_the_unix_socket(releases, tmp_path):
    (tmp_path / "elsewhere").symlink_to(releases / "1.2")
    assert find(releases, str(tmp_path / "elsewhere"), any_path=True).folder == str(releases / "1.2")
    with pytest.raises(Refused, match="nor an absolute path"):
        find(releases, "x/y", any_path=True)


def test_what_is_not_there(releases):
    with pytest.raises(Refused, match=r"it has no bin/python; there are 1\.1, 1\.2"):
        find(releases, "1.3")


@pytest.mark.parametrize("place", [".", "1.2", "1.2/bin", "1.2/lib", "1.2/lib/module.py"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_may_write_is_refused(releases, place, mode):
    path = releases / place
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(Refused, match="may be written by others: chmod -R go-w"):
        find(releases, "1.2")


@root_only
@pytest.mark.parametrize("place", [".", "1.2", "1.2/lib/module.py", "1.2/bin/python"])
def test_what_belongs_to_somebody_else_is_refused(releases, place):
    os.lchown(releases / place, 12345, -1)
    with pytest.raises(Refused, match="belongs to uid 12345"):
        find(releases, "1.2")


@root_only
def test_what_belongs_to_the_owner_of_the_running_release_is_not(releases):
    for inside, folders, files in os.walk(releases):
        for path in (inside, *(os.path.join(inside, name) for name in (*folders, *files))):
            os.lchown(path, 12345, -1)
    assert find(releases, "1.2").folder == str(releases / "1.2")


def test_a_folder_where_nobody_can_replace_what_is_not_theirs(releases):
    """Such as /tmp."""
    releases.chmod(0o1777)
    assert find(releases, "1.2")
    (releases / "1.2").chmod(0o1777)
    with pytest.raises(Refused, match="may be written by others"):
        refuse_foreign(str(releases / "1.2"), {0, ME})


def test_the_running_one_is_resolved_at_once():
    found = running()
    assert found.folder == os.path.realpath(sys.prefix)
    assert os.path.samefile(found.python, sys.executable)
    assert found.command("-c", "")[0] == found.python
