"""What the import makes of haproxy's keywords: nothing is dropped silently, and bad input is refused with its place."""

import contextlib
import re
import subprocess
import time
from pathlib import Path

import pytest
from haproxy_rig import BASE, HAPROXY, Authority, made, needs_haproxy, outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.config.load import check
from balancer.errors import ConfigError
from balancer.migrate.haproxy import actions, bind, known_global, known_proxy, server

PUBLISHED = Path(__file__).parent / "published"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The files of ``published``, complete with certificate."""
    folder = tmp_path_factory.mktemp("published")
    files = Authority(folder).issue("shop.example").values()
    (folder / "site.pem").write_bytes(b"".join(Path(file).read_bytes() for file in files))
    for file in PUBLISHED.iterdir():
        (folder / file.name).write_text(file.read_text().replace("@@", str(folder)))
    return folder


@pytest.mark.parametrize("name", sorted(file.stem for file in PUBLISHED.glob("*.cfg")))
def test_nothing_is_dropped_silently(name, published, tmp_path):
    """Each line leaves a trace: without it, the new file or the list of what was not taken over is another one."""
    lines = (published / f"{name}.cfg").read_text().splitlines()
    whole = outcome("\n".join(lines) + "\n", tmp_path)
    assert made("\n".join(lines) + "\n", tmp_path)
    silent = []
    for number, line in enumerate(lines):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            without = outcome("\n".join([*lines[:number], "", *lines[number + 1 :]]) + "\n", tmp_path)
        except ConfigError:
            continue
        if without == whole:
            silent.append(line.strip())
    assert [line for line in silent if line not in SAID_ALREADY] == []


SAID_ALREADY = {
    "global",
    "log global",  # the line it repeats is told
    "option httplog",  # the access log is always on
    "option tcplog",
    "option http-keep-alive",  # always so
    "option tcp-check",  # as without: a connection
    "mode tcp",  # haproxy's default
    "no option redispatch",
}


@pytest.mark.parametrize("line", ["maxconnrate 10", "maxsessrate 10", "maxsslrate 10", "maxsslconn 10"])
def test_limits_that_are_left_out_are_noticed(line, tmp_path):
    assert not outcome(f"global\n  {line}\n{BASE}", tmp_path).complete


@pytest.mark.parametrize("kind", ["frontend", "listen"])
def test_an_address_behind_the_name_is_a_bind(kind, tmp_path):
    text = f"{kind} www 127.0.0.1:8080,127.0.0.1:8081 name x\n  mode http\n  default_backend b\n"
    found = outcome(text + "backend b\n  mode http\n  server b 192.0.2.1:80\n", tmp_path)
    assert 'bind = ["127.0.0.1:8080", "127.0.0.1:8081"]' in found.text
    assert (1, kind) in {(each.line, each.what) for each in found.remarks}
    with pytest.raises(ConfigError, match="is unexpected here"):
        outcome(text + "backend b 192.0.2.1:80\n  server b 192.0.2.1:80\n", tmp_path)


@needs_haproxy
@pytest.mark.parametrize("name", sorted(file.stem for file in PUBLISHED.glob("*.cfg")))
def test_the_published_files_are_haproxys(name, published):
    done = subprocess.run([HAPROXY, "-c", "-q", "-f", published / f"{name}.cfg"], capture_output=True, check=False)
    assert (done.returncode, b"ALERT" in done.stderr) == (0, False), done.stderr


@needs_haproxy
def test_every_keyword_of_haproxy_is_known(tmp_path):
    """It lists what it has registered; of the older part of its parser it has no list."""
    file = tmp_path / "haproxy.cfg"
    file.write_text("global\n")
    done = subprocess.run([HAPROXY, "-dKcfg", "-q", "-c", "-f", file], capture_output=True, text=True, check=False)
    sections = re.split(r"^(\w\S*)\n", done.stdout.partition("\n")[2], flags=re.MULTILINE)
    listed = dict(zip(sections[1::2], sections[2::2], strict=True))
    unknown = {word for word in listed["global"].split() if known_global.meaning(word) is None}
    for line in filter(None, map(str.strip, listed["listen"].splitlines())):
        words = [word.rstrip("*") for word in line.split() if word not in ("[", "]", "FE", "BE", "HTTP")]
        match words:
            case ["bind", _, *rest]:
                known = next(word for word in rest if word != "ssl" or len(rest) == 1) in bind.OPTIONS
            case ["server", _, _, word, *_]:
                known = word in server.OPTIONS or word.removeprefix("no-") in server.OPTIONS
            case ["option", word]:
                known = f"option {word}" in known_proxy.KEYWORDS
            case ["http-request", word]:
                known = word in actions.HTTP
            case ["tcp-request", _, word]:
                known = word in actions.TCP
            case [first, *_]:
                everything = (*known_proxy.KEYWORDS, *known_proxy.OBSOLETE, *known_proxy.RENAMED)
                known = any(keyword.split()[0] == first for keyword in everything)
        if not known:
            unknown.add(line)
    # Parts of builds with additions: OpenTracing, which nobody has without building it.
    assert {each for each in unknown if "ot-group" not in each} == set()
    assert "bind <addr> accept-proxy" in done.stdout
    assert len(listed["listen"].splitlines()) > 100


WORDS = [
    *(word for keyword in (*known_proxy.KEYWORDS, *known_global.KEYWORDS) for word in keyword.split()),
    *(*server.OPTIONS, *bind.OPTIONS, *actions.HTTP, *actions.TCP),
    *(
        "0",
        "-1",
        "9" * 20,
        "10s",
        "1h",
        "{",
        "}",
        "!",
        "||",
        "if",
        "unless",
        "from",
        "%[",
        "127.0.0.1:1",
        "[::",
        "::1:5",
    ),
    *("*", ":0", "/x", "a,b", "é", "\\x01", "no", "1-3", "example", "www", "ide", "carts"),
]
CHANGES = st.lists(st.tuples(st.integers(0), st.integers(0), st.integers(0, 3), st.sampled_from(WORDS)), max_size=4)


@settings(max_examples=60)
@given(st.sampled_from(sorted(file.stem for file in PUBLISHED.glob("*.cfg"))), CHANGES)
def test_whatever_is_taken_passes_the_check(published, name, changes):
    """A file with odd words in it is refused, or becomes one that our daemon takes."""
    lines = [line.split() for line in (published / f"{name}.cfg").read_text().splitlines()]
    for row, column, kind, word in changes:
        line = lines[row % len(lines)]
        at = column % (len(line) + 1)
        line[at : at + (kind > 0)] = [] if kind == 1 else [word]
    with contextlib.suppress(ConfigError):
        (published / "made.toml").write_text(outcome("".join(" ".join(line) + "\n" for line in lines), published).text)
        problems = check(published / "made.toml", time.time()).problems
        assert [
            each for each in problems if "cannot be read" not in each.message
        ] == []  # a certificate that is not there


BAD = {
    "no configuration": ("<html>\n<p>404</p>\n", 1, "outside of any section"),
    "another program's": ("http {\n  upstream x { }\n}\n", 1, "is this a configuration of haproxy?"),
    "binary": ("\x7fELF\0\0\n", 1, "NUL"),
    "cut off in a line": (BASE.rstrip("\n"), 8, "may be truncated"),
    "cut off in a quote": (BASE + '  server b "192.0.2.2:80\n', 9, "is not closed"),
    "unknown keyword": (BASE + "  balanse roundrobin\n", 9, 'did you mean "balance"?'),
    "unknown option": (BASE + "  option httpchkk\n", 9, 'did you mean "option httpchk"?'),
    "unknown word of global": ("global\n  maxcon 5\n" + BASE, 2, 'did you mean "maxconn"?'),
    "unknown word of a server": (BASE + "  server b 192.0.2.2:80 wieght 5\n", 9, 'did you mean "weight"?'),
    "unknown word of a bind": (BASE.replace(":80\n  def", ":80 sls\n  def"), 4, 'did you mean "ssl"?'),
    "unknown action": (BASE + "  http-request denny\n", 9, 'did you mean "deny"?'),
    "weight too large": (BASE + "  server b 192.0.2.2:80 weight 257\n", 9, "from 0 to 256"),
    "no address": (BASE + "  server b\n", 9, "a name and an address"),
    "name twice": (BASE + "  server a 192.0.2.2:80\n", 9, "is already used by the server in line"),
    "id twice": (
        BASE + "  server b 192.0.2.2:80 id 7\n  server c 192.0.2.3:80 id 7\n",
        10,
        "is already used by the server",
    ),
    "backend twice": (BASE + "backend ide\n", 9, "is already used by the backend in line"),
    "no such backend": (BASE.replace("default_backend ide", "default_backend ied"), 5, 'no backend is named "ied"'),
    "no such acl": (BASE.replace("  def", "  use_backend ide if nobody\n  def"), 5, 'there is no acl named "nobody"'),
    "no such defaults": (BASE + "backend x from nowhere\n", 9, "no defaults section above is named"),
    "no way to balance": (BASE.replace("url_param token", "by_hand"), 7, "is not a balance algorithm"),
    "no hash": (BASE + "  hash-type sideways\n", 9, "consistent or map-based"),
    "bad time": (BASE.replace("  mode http\n", "  mode http\n  timeout client soon\n"), 3, "expected a time (a number"),
    "bad port": (BASE.replace(":80\n  def", ":99999\n  def"), 4, "a port"),
    "if without end": (".if 1\n" + BASE, 1, "no matching .endif"),
    "endif without if": (BASE + ".endif\n", 9, "no matching .if"),
    "bad condition": (".if maybe\n.endif\n" + BASE, 1, "is not a condition"),
    "obsolete": (BASE.replace("  mode http\n", "  mode http\n  reqadd x\n"), 3, "use http-request add-header"),
    "address on the section": (BASE.replace("backend ide\n", "backend ide 127.0.0.1:81\n"), 6, "bind line"),
    "certificate wanted": (BASE.replace(":80\n  def", ":80 ssl\n  def"), 4, "crt FILE"),
    "expectation": (
        BASE + "  option httpchk\n  http-check expect status 2x\n  server b 192.0.2.2:80 check\n",
        10,
        "statuses",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_its_place(name, tmp_path):
    text, line, part = BAD[name]
    with pytest.raises(ConfigError) as caught:
        outcome(text, tmp_path)
    first = caught.value.problems[0]
    assert (Path(first.file).name, first.line) == ("haproxy.cfg", line), str(caught.value)
    assert part in first.message


@needs_haproxy
@pytest.mark.parametrize("name", BAD)
def test_haproxy_refuses_it_too(name, tmp_path):
    file = tmp_path / "haproxy.cfg"
    file.write_text(BAD[name][0])
    assert subprocess.run([HAPROXY, "-c", "-q", "-f", file], capture_output=True, check=False).returncode == 1
