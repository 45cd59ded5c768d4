"""Nobody reads standard error: everything goes on, and ends, all the same."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from admin_rig import NAMES, AdminDaemon
from echo import Echo
from wire import eventually, get

from balancer.daemon.stderr import MOST_WAITING, StderrWriter

LINE = "a line of thirty-two characters\n"


@contextmanager
def nobody_reads(daemon):
    """Inside, the pipe is full, and its reader waits for us."""
    with daemon.stderr._news:  # the reader wants it for each line
        # Opened anew: the flag would be everybody's.
        fd = os.open(f"/proc/{daemon.process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        try:
            for _ in range(5):  # the reader takes a part before it waits
                with suppress(BlockingIOError):
                    while True:
                        os.write(fd, b"full\n")
                time.sleep(0.05)
        finally:
            os.close(fd)
        yield


def served(daemon, token):
    with daemon.connect() as client:
        return client.ask(get(f"/?token={token}", "Connection: close")).status == 201


def test_traffic_operators_and_restarts_go_on_and_so_does_the_end(tmp_path):
    with ExitStack() as stack:
        hosts = [stack.enter_context(Echo()) for _ in NAMES]
        timeouts = {"drain": "1s", "hang": "2s"}
        daemon = stack.enter_context(AdminDaemon(tmp_path, hosts, workers=2, timeouts=timeouts))

        def pids():
            with suppress(OSError):
                status = daemon.get("/v1/status")
                if len(status["workers"]) == 2:
                    return {each["name"]: each["pid"] for each in status["processes"]}
            return {}

        before = eventually(pids)
        with nobody_reads(daemon):
            for _ in range(3):  # control says so
                assert daemon.ask("POST", "/v1/reload", {}).status == 200
            hosts[0]._process.kill()  # the workers say so, each time
            assert all(served(daemon, f"secret-{number}") for number in range(30))
            os.kill(before["worker 1"], signal.SIGKILL)  # the supervisor says so
            after = eventually(lambda: (now := pids()) and now["worker 1"] not in (None, before["worker 1"]) and now)
            assert {name for name in before if after[name] != before[name]} == {"worker 1"}
            os.kill(before["control"], signal.SIGKILL)
            eventually(lambda: pids().get("control") not in (None, before["control"]))
            assert all(served(daemon, f"secret-{number}") for number in range(30))
        for text in ("trying others first", "worker 1 restarted", "control restarted"):
            daemon.stderr.wait_for(lambda line, text=text: text in line)
        with nobody_reads(daemon):
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.ended() == 0


def test_a_refusal_to_start_with_nobody_reading_ends(tmp_path):
    """The last words of a process have a second."""
    reading, writing = os.pipe()
    with suppress(BlockingIOError):
        os.set_blocking(writing, False)
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    (tmp_path / "balancer.toml").write_text("nonsense = 3\n")
    program = [sys.executable, "-m", "balancer", "--config", str(tmp_path / "balancer.toml")]
    with subprocess.Popen(program, stderr=writing) as process:
        os.close(writing)
        assert process.wait(30) == 1
    os.close(reading)


class Pipe:
    """A pipe with a writer that does not block on one of its ends."""

    def __init__(self):
        self.reading, self._writing = os.pipe()
        self.writer = StderrWriter(self._writing)

    def read_all(self):
        """Everything, once all of it has been written."""
        read = []

        def take():
            while data := os.read(self.reading, 65536):
                read.append(data)

        thread = threading.Thread(target=take)
        thread.start()
        assert self.writer.wait(30)
        os.close(self._writing)
        thread.join()
        self._writing = -1
        return b"".join(read).decode()

    def close(self):
        os.close(self.reading)
        if self._writing >= 0:
            os.close(self._writing)


@pytest.fixture
def pipe():
    with closing(Pipe()) as opened:
        yield opened


def test_what_waits_is_bounded_and_what_is_lost_is_counted(pipe, caplog):
    lines = 4 * MOST_WAITING // len(LINE)
    for _ in range(lines):
        pipe.writer.write(LINE)
    kept = pipe.writer._taken - pipe.writer._written
    assert kept <= MOST_WAITING
    lost = pipe.writer.lost
    assert lost > 2 * MOST_WAITING // len(LINE)
    assert pipe.read_all() == LINE * (lines - lost)
    eventually(lambda: caplog.messages)
    assert caplog.messages == [f"{lost} log lines were lost: standard error did not take them"]
    assert pipe.writer.lost == 0


def test_pieces_of_a_line_are_written_together(pipe):
    print("one", 2, {"three": "ü\udc80"}, file=pipe.writer)
    pipe.writer.write("the end")
    assert pipe.read_all() == "one 2 {'three': 'ü\\udc80'}\nthe end"


def test_a_reader_that_is_gone_costs_lines_only(pipe):
    os.close(pipe.reading)
    pipe.writer.write(LINE * 3)
    assert pipe.writer.wait(30)
    assert pipe.writer.lost == 3
    pipe.reading = os.dup(2)


def test_waiting_has_an_end(pipe):
    pipe.writer.write(LINE * 10_000)
    assert not pipe.writer.wait(0.01)
    pipe.read_all()


def test_a_description_that_somebody_has_made_nonblocking(pipe):
    """Shells and other programs that share it do that."""
    os.set_blocking(pipe._writing, False)
    pipe.writer.write(LINE * 10_000)
    assert pipe.read_all() == LINE * 10_000


@pytest.mark.parametrize("what", ["raise ValueError('end')", "f = open('/dev/null'); del f; import gc; gc.collect()"])
def test_tracebacks_and_warnings_come_out(what):
    program = f"from balancer.daemon.stderr import *; keep_stderr_from_blocking(); {what}"
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=False)
    assert ("ValueError: end\n" if "raise" in what else "ResourceWarning: unclosed file") in done.stderr


def test_closed_standard_streams_are_nobody_elses():
    """What is opened first would get their numbers, and the log lines."""
    program = (
        "import os; from balancer.daemon.stderr import *; open_standard_streams(); fd = os.open('/', os.O_RDONLY)\n"
        "os.write(int(os.environ['REPORT']), repr((fd > 2, os.readlink('/proc/self/fd/2'))).encode())"
    )
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    shell = f'exec "{sys.executable}" -c "$PROGRAM" <&- >&- 2>&-'
    environ = os.environ | {"PROGRAM": program, "REPORT": str(writing)}
    subprocess.run(["/bin/sh", "-c", shell], env=environ, pass_fds=[writing], check=True)
    os.close(writing)
    with open(reading) as report:
        assert report.read() == "(True, '/dev/null')"
