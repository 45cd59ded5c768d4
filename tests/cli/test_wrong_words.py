"""What an operator gets who typed something wrong, or has a broken file beside a daemon that runs well."""

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process_rig import command

from balancer.cli.client import configured_address
from balancer.config.load import check
from balancer.config.repeated import repeated
from balancer.config.scalars import parse_duration, parse_rate, shown_duration, shown_rate
from balancer.config.toml_errors import explain
from balancer.config.unfinished import unfinished
from balancer.errors import Refused
from balancer.proxy.log_target import check_file
from balancer.store.journal import Journal


def test_sessions_of_what_does_not_exist(daemon):
    for option, value in (("--backend", "ide-99"), ("--pool", "none")):
        out, code = command(daemon, "sessions", option, value)
        assert (code, f'there is no {option[2:]} "{value}"; existing ' in out) == (1, True)
    assert command(daemon, "sessions", "--backend", "ide-01")[1] == 0


@pytest.mark.parametrize("token", ["two words", "caf\u00e9", "a#b", "tab\there"])
def test_a_pin_of_a_token_that_no_url_can_carry(daemon, token):
    out, code = command(daemon, "pin", token, "ide-01")
    assert (code, "no URL can carry this token" in out) == (1, True)


@pytest.mark.parametrize(
    ("words", "usage"),
    [(("backend", "drain", "x", "--nope"), "balancer backend drain"), (("status", "--nope"), "balancer status")],
)
def test_an_unknown_option_is_answered_with_the_usage_of_its_verb(daemon, words, usage):
    out, code = command(daemon, *words)
    assert code == 2
    assert out.startswith(f"usage: {usage} ")
    assert "unrecognized arguments: --nope" in out


@pytest.mark.parametrize("broken", ["listener = [", "workers = 1\nworkers = 2\n"])
@pytest.mark.parametrize(
    "form", ['admin = {{ socket = "{}" }}\n', '[admin]\nsocket = "{}"  # here\n', 'admin.socket = "{}"\n']
)
def test_a_broken_file_beside_a_daemon(tmp_path, broken, form, capsys):
    path = tmp_path / "balancer.toml"
    path.write_text(form.format("run/admin.sock") + broken)
    assert configured_address(path) == str(tmp_path / "run/admin.sock")
    assert "is invalid" in capsys.readouterr().err
    path.write_text(broken)
    with pytest.raises(Refused, match="balancer check"):
        configured_address(path)


def test_what_stands_twice_is_named_with_its_first_place(tmp_path):
    path = tmp_path / "balancer.toml"
    path.write_text("workers = 1\n[timeouts]\ndrain = '1s'\nidle = '1s'\ndrain = '2s'\n")
    (problem,) = check(path, time.time()).problems
    assert (problem.line, '"drain" stands here for the second time (see line 3)' in problem.message) == (5, True)
    assert repeated("[a]\nx = 1\n[b]\nx = 1\n", 4) is None
    assert repeated("[[p]]\nx = 1\n[[p]]\nx = 1\n", 4) is None
    assert repeated("[a]\nx = 1\n[a]\n", 3) == ("[a]", 1)
    assert repeated("[a]\nx = 1\n[[p]]\n[a]\n", 4) == ("[a]", 1)
    assert repeated("[[p]]\n[p.a]\n[[p]]\n[p.a]\n", 4) is None


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        ("listener = [\n  1,\n", 2),
        ('a = """\nb = 1\n[c]\nd = 1', 2),
        ("a = 'b", 2),
        ("a = [\n 1\n]\n[b]\nlog.", 6),
        ("# \u00fc\n[a", 3),
        ("a =\n\n\n", 2),
        ('a = """\n' + "b = 1\n" * 500 + "c = 1\n\n", 503),
    ],
)
def test_what_does_not_end_is_shown_where_it_begins(tmp_path, rest, line):
    path = tmp_path / "balancer.toml"
    path.write_text("workers = 1\n" + rest)
    (problem,) = check(path, time.time()).problems
    assert (problem.line, "is not TOML" in problem.message) == (line, True)


@pytest.mark.parametrize(
    ("rest", "line", "says"),
    [
        ('name = "a\nb = 1\n', 2, "a string on this line has no closing quote"),
        ('a = 1\nbind = [\n  "b"\nc = 1\n', 3, "the array that begins here is not closed"),
        ('a = 1\nbind = [\n  "b",\nc = 1\n', 5, "or what begins in line 3 is not closed"),
        ("bind = [{ a = 1 } { a = 2 }]\n", 2, "or a comma is missing"),
        ("name = \u201cide\u201d\n", 2, "strings stand in straight quotes"),
        ("name = hunter2\n", 2, "strings stand in straight quotes"),
        ("linger = 30s\n", 2, "the value of linger: a value with more than a number, such as"),
        ("a.address = 10.0.0.1:80\n", 2, "the value of a.address: a value with more than a number"),
        ("enabled = False\n", 2, "the value of enabled: strings stand in straight quotes, true and false are in small"),
        ("linger =   # soon\n", 2, "the value of linger: there is none"),
        ('linger = "30s";\n', 2, "only a comment may follow a value"),
        ('linger: "30s"\n', 2, "expected KEY = VALUE"),
        ("[timeouts\n", 2, "expected [TABLE] or [[TABLE]]"),
        ("[[pool.backend]\n", 2, "expected [TABLE] or [[TABLE]]"),
        ("a = { b = 1,\n c = 2 }\n", 2, "a table in braces { } stands on one line"),
        ('a = "C:\\x"\n', 2, "a backslash in a string is written"),
        ("[[a]]\n[[a.b]]\n[a.b]\n", 4, "begins with two brackets: [[a.b]], as in line 3"),
        ("[[a.b]]\n[c]\n[[a]]\n", 4, "[[a]] has to come before what belongs to it, which begins in line 2"),
        ("[a.b]\n[[c]]\n[a.b]\n", 4, '"a.b" twice: "[a.b]" stands here for the second time (see line 2)'),
    ],
)
def test_what_is_not_toml_is_said_as_to_someone_who_does_not_know_toml(tmp_path, rest, line, says):
    path = tmp_path / "balancer.toml"
    path.write_text("workers = 1\n" + rest)
    (problem,) = check(path, time.time()).problems
    assert (problem.line, says in problem.message) == (line, True), problem.message
    assert "hunter2" not in problem.message


@pytest.mark.parametrize(
    ("text", "balancer"),
    [
        ("# ours\n\nglobal\n  daemon\n", "haproxy"),
        ("frontend a\n  bind *:443\n", "haproxy"),
        ("upstream a {\n", "nginx"),
    ],
)
def test_a_file_of_another_balancer_is_to_be_imported(tmp_path, text, balancer):
    path = tmp_path / "balancer.toml"
    path.write_text(text)
    assert f"`balancer import {balancer} FILE`" in check(path, time.time()).problems[0].message


@given(st.text(alphabet="ab=[]{}\"'“,.\n \\1"))
def test_every_text_is_explained(text):
    try:
        tomllib.loads(text)
    except ValueError as error:
        line, why = explain(text, error)
        assert why
        assert line is not None
        assert 1 <= line <= text.count("\n") + 1


@given(st.text(alphabet="ab=[]{}\"',.\n \\"))
def test_some_line_is_named_whatever_is_there(text):
    assert 1 <= unfinished(text) <= text.count("\n") + 1


def test_advice_fits(tmp_path):
    with pytest.raises(Refused, match="give the path of a file, such as"):
        check_file(tmp_path)
    with pytest.raises(Refused, match="make the directory"):
        check_file(tmp_path / "none" / "access.log")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Refused, match="it has to be a directory"):
        Journal(file)


@pytest.mark.parametrize("text", ["250ms", "20s", "90s", "1m", "1h", "36h", "2d", "1.5s"])
def test_durations_as_one_would_write_them(text):
    assert parse_duration(shown_duration(parse_duration(text))) == parse_duration(text)
    assert shown_duration(parse_duration("60s")) == "1m"


@given(number=st.decimals(1, 8000, places=3), unit=st.sampled_from(["ms", "s", "m", "h"]))
def test_durations_and_rates_are_written_exactly(number, unit):
    seconds = parse_duration(f"{number}{unit}")
    assert parse_duration(shown_duration(seconds)) == seconds
    rate = parse_rate(f"{number}/{unit[-1]}")
    assert parse_rate(shown_rate(rate)) == rate


@pytest.mark.parametrize("text", ["20/s", "5/m", "100/h", "7/m", "1/h", "off", "0.5/s"])
def test_rates_as_one_would_write_them(text):
    assert shown_rate(parse_rate(text)) == text.replace("0.5/s", "30/m")


def test_a_token_in_the_clear_is_warned_of(tmp_path):
    path = tmp_path / "balancer.toml"
    path.write_text(
        'admin = { listen = "0.0.0.0:9600", token_file = "t" }\n'
        'listener = [{ name = "a", bind = ["127.0.0.1:1"], pool = "p" }]\n'
        'pool = [{ name = "p", backend = [{ name = "b", address = "127.0.0.1:2" }] }]\n'
    )
    assert any("unencrypted" in each.message for each in check(path, time.time()).warnings)
    Path(path).write_text(path.read_text().replace("0.0.0.0", "127.0.0.1"))
    assert not any("unencrypted" in each.message for each in check(path, time.time()).warnings)
