"""Files of the demo's users."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.demo import home
from balancer.demo.home import MAX_FILES, MAX_TEXT, Home, HomeError


def everything(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@given(name=st.text() | st.sampled_from(["..", "../x", ".hidden", "a/b", "a\n", "x" * 49]), text=st.text(max_size=50))
def test_no_name_leads_outside(tmp_path_factory, name, text):
    root = tmp_path_factory.mktemp("disk")
    place = Home(root / "me")
    try:
        place.write(name, text)
    except HomeError:
        assert not everything(root)
    else:
        assert everything(root) == {root / "me" / name}
        assert place.read(name) == text
        assert place.names() == [name]
        place.remove(name)
        assert place.names() == []


@pytest.mark.parametrize("name", ["", "..", "../other/secret", "/etc/passwd", ".x", "a b", "a\0b", "é"])
def test_bad_names_cannot_be_read_or_removed(tmp_path, name):
    for act in (Home(tmp_path / "me").read, Home(tmp_path / "me").remove):
        with pytest.raises(HomeError, match="a file name has"):
            act(name)


def test_missing_files_are_named(tmp_path):
    for act in (Home(tmp_path / "me").read, Home(tmp_path / "me").remove):
        with pytest.raises(HomeError, match=r"notes\.txt: no such file"):
            act("notes.txt")


def test_the_disk_is_bounded(tmp_path, monkeypatch):
    place = Home(tmp_path / "me")
    with pytest.raises(HomeError, match="at most"):
        place.write("large", "x" * (MAX_TEXT + 1))
    for number in range(MAX_FILES):
        place.write(f"file{number}", "x" * MAX_TEXT)
    place.write("file0", "replaced")
    with pytest.raises(HomeError, match="files already"):
        place.write("one-more", "")
    monkeypatch.setattr(home, "MAX_HOMES", 1)
    with pytest.raises(HomeError, match="no space left"):
        Home(tmp_path / "you").write("file", "")
