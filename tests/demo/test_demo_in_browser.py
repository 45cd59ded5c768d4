"""The demo's page in a real browser, through the balancer."""

import pytest
from demos import DemoProcess
from devtools import CHROMIUM, Browser

from balancer.demo.users import token_of

pytestmark = [pytest.mark.site, pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")]

HOST = "document.getElementById('host').textContent"
NOTE = "document.getElementById('note').textContent"
TABS = "document.querySelectorAll('#tabs li').length"
TERMINAL = "document.getElementById('log').innerText"
FILES = "document.getElementById('files').innerText"


@pytest.fixture(scope="module")
def demo():
    with DemoProcess() as demo:
        yield demo


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_tabs_of_a_user_meet_on_one_host_move_and_return(demo, browser):
    first = browser.open(demo.urls["david"])
    home = first.wait_for(f"{HOST} != '…' && {HOST}")
    assert home == demo.places["david"]
    second = browser.open(first.wait_for("document.getElementById('second').href"))
    for tab in (first, second):
        tab.wait_for(f"{TABS} == 2 && {HOST} == '{home}'")
    assert first.wait_for("document.title") == f"{home} · david"

    first.type_line("hello <b>there</b>")
    first.wait_for(f"{TERMINAL}.includes('{home} ▸ hello <b>there</b>')")
    first.type_line("write notes.txt kept")
    second.wait_for(f"{FILES} == 'notes.txt'")

    demo.type(f"stop {home}", "has stopped")
    away = first.wait_for(f"!['…', '{home}'].includes({HOST}) && {HOST}")
    assert first.wait_for(NOTE) == f"Moved from {home} to {away}: your files stayed on {home}."
    second.wait_for(f"{TABS} == 2 && {HOST} == '{away}' && {FILES} == 'none yet'")

    demo.type(f"start {home}", "is running again")
    first.wait_for("document.getElementById('again').click() || true")
    for tab in (first, second):
        tab.wait_for(f"{HOST} == '{home}' && {FILES} == 'notes.txt'")
        assert tab.wait_for(NOTE) == f"Back on {home}: your files are here again."


def test_the_policy_blocks_nothing_the_page_needs_and_the_page_shows_no_token(demo, browser):
    page = browser.open("about:blank")
    page.call("Log.enable")
    page.call("Page.navigate", url=demo.urls["ellen"])
    page.wait_for(f"{HOST} == '{demo.places['ellen']}'")
    shown = page.wait_for("document.documentElement.innerText + document.title")
    assert token_of("ellen") not in shown
    assert page.wait_for("getComputedStyle(document.body).maxWidth != 'none'"), "the style was not applied"
    assert browser.complaints == []
