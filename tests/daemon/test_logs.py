"""The daemon's messages: as text, as JSON, with priorities and as entries of a journal that the test plays."""

import json
import logging
import os
import re
import socket
import struct
import subprocess
import sys

import pytest
from harness import COMMAND, listener, pool, toml
from hypothesis import given
from hypothesis import strategies as st
from manager_rig import Unit
from wire import PATIENCE, end_with_parent

from balancer.daemon.journald import JournalHandler, entry
from balancer.daemon.logs import JsonFormatter, PriorityFormatter, TextFormatter, about

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def record(text="%s", *args, level=logging.WARNING, error=None, **more):
    made = logging.LogRecord(
        "balancer.test", level, "/x.py", 7, text, args, error and (type(error), error, None), "run"
    )
    vars(made).update(more)
    return made


def fields(data):
    """An entry, read as the protocol has it."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = struct.unpack("<Q", data[:8])[0]
            value, data = data[8 : 8 + size], data[8 + size :]
            assert data[:1] == b"\n"
            data = data[1:]
        found[name.decode()] = value.decode()
    return found


class Journal:
    """The two sockets of a journal in a folder."""

    def __init__(self, folder):
        self.path = folder / "socket"
        self.streams = socket.socket(socket.AF_UNIX)
        self.streams.bind(str(folder / "stdout"))
        self.streams.listen()
        self.entries = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.entries.bind(str(self.path))
        self.entries.settimeout(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.streams.close()
        self.entries.close()

    def stream(self):
        """A standard error that leads here, and the variable that says so."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.streams.getsockname())
        about = os.fstat(sock.fileno())
        return sock, {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}

    def entry(self):
        data, fds, _, _ = socket.recv_fds(self.entries, 1 << 20, 1)
        if fds:
            with open(fds[0], "r+b", buffering=0) as file:
                file.seek(0)
                data = file.read()
                with pytest.raises(PermissionError):  # it is sealed, or the journal would not take it
                    file.write(b"x")
        return fields(data)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path) as running:
        yield running


def test_the_daemon_writes_entries(tmp_path, journal):
    """Nothing is left for the stream itself."""
    file = tmp_path / "balancer.toml"
    config = {"listener": [listener()], "pool": [pool("127.0.0.1:1")], "log": {"access": "off"}}
    file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in config.items()))
    stderr, variables = journal.stream()
    with stderr:
        process = subprocess.Popen(
            [*COMMAND, str(file)], stderr=stderr, env={**os.environ, **variables}, preexec_fn=end_with_parent
        )
    try:
        while 'listener "web" accepts on' not in (found := journal.entry())["MESSAGE"]:
            pass
        assert found["PRIORITY"] == "6"
        assert found["SYSLOG_IDENTIFIER"] == "balancer"
        assert found["BALANCER_LISTENER"] == "web"
        assert found["BALANCER_LOGGER"] == "balancer"
        assert found["CODE_FILE"].endswith(".py")
        process.terminate()
        assert process.wait(PATIENCE) == 0
        stream, _ = journal.streams.accept()
        with stream:
            stream.settimeout(PATIENCE)
            assert stream.recv(100) == b""
    finally:
        process.kill()
        process.wait()


NAMES = st.from_regex(r"[A-Z][A-Z_]{0,9}", fullmatch=True)


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=("Cs",))), min_size=1))
def test_every_entry_can_be_read(given_fields):
    assert fields(entry(given_fields)) == given_fields


def test_a_surrogate_does_not_break_an_entry():
    assert fields(entry({"MESSAGE": "a\udcffb"})) == {"MESSAGE": r"a\udcffb"}


def test_a_traceback_is_one_entry(journal):
    handler = JournalHandler(journal.path, about)
    handler.handle(record("broken", error=ValueError("x"), backend="ide-01", pool="ide"))
    handler.close()
    found = journal.entry()
    assert found["MESSAGE"] == "broken\nValueError: x"
    assert (found["PRIORITY"], found["BALANCER_BACKEND"], found["BALANCER_POOL"]) == ("4", "ide-01", "ide")


def test_an_entry_that_is_too_long_for_a_datagram(journal):
    handler = JournalHandler(journal.path, about)
    handler.handle(record("x" * (1 << 20)))
    handler.close()
    assert journal.entry()["MESSAGE"] == "x" * (1 << 20)


def test_a_journal_that_is_busy_or_away_is_not_waited_for(tmp_path):
    handler = JournalHandler(tmp_path / "socket", about)
    handler.handle(record("nobody hears this"))
    with Journal(tmp_path) as journal:
        handler.handle(record("back"))
        lost = "1 messages before this one are lost: the journal did not take them"
        assert journal.entry()["MESSAGE"] == f"back ({lost})"
        for _ in range(1000):  # more than a socket queues
            handler.handle(record("again"))
        assert journal.entry()["MESSAGE"] == "again"
    handler.close()


def test_json():
    line = JsonFormatter().format(record("backend %s\nis gone", "a", error=ValueError("x"), backend="a"))
    assert "\n" not in line
    found = json.loads(line)
    assert re.fullmatch(STAMP, found.pop("time"))
    assert found == {
        "level": "warning",
        "logger": "balancer.test",
        "message": "backend a\nis gone",
        "backend": "a",
        "traceback": "ValueError: x",
    }


def test_text():
    assert re.fullmatch(STAMP + " WARNING balancer.test: a b", TextFormatter().format(record("a %s", "b")))


@given(st.text(), st.sampled_from([(10, 7), (20, 6), (30, 4), (40, 3), (50, 2)]))
def test_every_line_has_the_priority_of_its_record(message, levels):
    level, priority = levels
    lines = PriorityFormatter().format(record("%s", message, level=level)).split("\n")
    assert [line[:3] for line in lines] == [f"<{priority}>"] * len(lines)
    assert "\n".join(line[3:] for line in lines) == f"{logging.getLevelName(level)} balancer.test: {message}"


def test_priorities_where_only_the_stream_leads_to_the_journal(tmp_path):
    limits = {"max_connections": 100}  # more might take more descriptors than there are, which is worth a warning
    with Unit(tmp_path, listener=[listener()], pool=[pool("127.0.0.1:1")], limits=limits) as unit:
        unit.accepts()
        unit.stop()
        assert re.fullmatch(r"(<6>INFO .+\n)+", str(unit.stderr))


def test_other_readers(tmp_path):
    variables = {"JOURNAL_STREAM": "1:2"}  # the variable came with the environment, the stream leads elsewhere
    log = {"access": "off", "format": "json"}
    with Unit(tmp_path, variables=variables, listener=[listener()], pool=[pool("127.0.0.1:1")], log=log) as unit:
        unit.stderr.wait_for(lambda said: "accepts on" in said)
        unit.stop()
        assert re.fullmatch(r'(\{"time".+\}\n)+', str(unit.stderr))


def test_another_configuration():
    """Messages appear once, in the form and from the level of the last one."""
    program = (
        "import logging; from balancer.daemon.logs import start_logs\n"
        "for form, level in ('text', 'info'), ('json', 'warning'):\n"
        "    start_logs({}, level, form)\n"
        "    logging.getLogger('balancer').info('one'); logging.getLogger('balancer').warning('two')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.fullmatch(rf'{STAMP} INFO balancer: one\n{STAMP} WARNING balancer: two\n\{{.*"two"\}}\n', done.stderr)
