"""The agent check: haproxy's words, and whatever else a host may say."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from probed import hosting, silent

from balancer.config.scalars import Address
from balancer.health.results import AgentReport
from balancer.probes.agent import ask_agent, parse_report

WORDS = {
    b"75%": AgentReport(percent=75),
    b"0%": AgentReport(percent=0),
    b"150%": AgentReport(percent=100),
    b"drain": AgentReport(mode="drain"),
    b"maint": AgentReport(mode="maint"),
    b"ready": AgentReport(mode="ready"),
    b"up": AgentReport(down=False),
    b"down": AgentReport(down=True),
    b"failed": AgentReport(down=True),
    b"stopped": AgentReport(down=True),
}


@pytest.mark.parametrize(("word", "report"), WORDS.items())
def test_each_word(word, report):
    assert parse_report(word) == parse_report(word.upper() + b"\r\nmaint 1%\n") == report


@given(st.lists(st.sampled_from(list(WORDS)), max_size=6), st.sampled_from([b" ", b", ", b",", b"\t", b" \t,"]))
def test_words_in_any_order(words, between):
    report = parse_report(between.join(words) + b" # down for a walk\n")
    for field in ("percent", "mode", "down"):
        said = [value for word in words if (value := getattr(WORDS[word], field)) is not None]
        assert getattr(report, field) == (said[-1] if said else None)


@given(st.binary())
@example(b"1000%")
@example(b"-5%")
@example(b"7 5%")
@example(b"\xb2%")
def test_whatever_is_said_stays_within_the_words(answer):
    report = parse_report(answer)
    assert report.percent is None or 0 <= report.percent <= 100
    assert report.mode in (None, "ready", "drain", "maint")
    assert report.down in (None, False, True)


def test_what_is_no_word_says_nothing():
    for line in (b"", b"\n", b"1000%", b"-5%", b"7 5", b"maxconn:30", b"upp", b"#down", b"\0down", b"\ndown"):
        assert parse_report(line) == AgentReport(), line


def tells(line, *, endless=False):
    async def talk(host, stream):
        await stream.send_all(line)
        while endless:
            await stream.send_all(line)

    return talk


ANSWERS = {
    "a line": (tells(b"75% up\n"), AgentReport(75, None, False)),
    "a line without an end": (tells(b"drain"), AgentReport(mode="drain")),
    "nothing": (tells(b""), AgentReport()),
    "an endless line": (tells(b"down " + b"x" * 99, endless=True), AgentReport(down=True)),
}


@pytest.mark.parametrize(("talk", "report"), ANSWERS.values(), ids=ANSWERS)
async def test_an_agent_is_asked(talk, report):
    async with hosting(talk) as host:
        assert await ask_agent(host.address, 10.0) == report


async def test_one_that_is_silent_or_absent_says_nothing():
    async with hosting(silent) as host:
        assert await ask_agent(host.address, 0.05) is None
        address = host.address
    assert await ask_agent(address, 10.0) is None
    assert await ask_agent(Address(path="/nowhere/at/all"), 10.0) is None
