"""The access log is renamed, and every worker goes on in a new file without a line that is lost or cut."""

import contextlib
import errno
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon
from process_rig import command, served
from wire import Backend, eventually

from balancer.daemon.signals import HANDLED, STOPS
from balancer.proxy.log_target import LogTarget

CONF = Path(__file__).parents[2] / "conf" / "logrotate"
FAULTS = {"ABRT", "BUS", "CHLD", "FPE", "ILL", "KILL", "SEGV", "STOP", "SYS", "TRAP"}


@pytest.fixture
def hosts():
    backends = [Backend() for _ in NAMES]
    yield backends
    for backend in backends:
        backend.close()


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").mkdir()
    return tmp_path / "log" / "access.log"


@pytest.fixture
def daemon(tmp_path, hosts, log):
    with AdminDaemon(tmp_path, hosts, log={"access": str(log)}, workers=2) as running:
        yield running


def pids(daemon):
    return [each["pid"] for each in daemon.get("/v1/status")["processes"]]


def lines(*files):
    """The lines of these files; each is whole."""
    return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]


def held(pid):
    """The files that a process has open."""
    names = set()
    for each in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            names.add(os.readlink(f"/proc/{pid}/fd/{each}"))
    return names


@pytest.mark.parametrize("how", ["SIGUSR1", "SIGHUP", "reload", "refused reload"])
def test_every_worker_goes_on_in_a_new_file(daemon, hosts, log, how):
    old = log.with_suffix(".1")
    for number in range(4):
        served(daemon, hosts, f"before-{number}")
    eventually(lambda: len(lines(log)) == 4)
    log.rename(old)
    served(daemon, hosts, "between")
    if how.startswith("SIG"):
        daemon.process.send_signal(signal.Signals[how])
    else:
        if how == "refused reload":
            Path(daemon.config).write_text("broken = true")
        assert command(daemon, "reload")[1] == (how == "refused reload")
    # Also a worker without a line to write lets go of the old file.
    eventually(lambda: log.exists() and not any(str(old) in held(pid) for pid in pids(daemon)[1:]))
    for number in range(4):
        served(daemon, hosts, f"after-{number}")
    eventually(lambda: len(lines(old, log)) == 9)
    assert len(lines(log)) >= 4


def test_a_signal_that_means_nothing_does_nothing(daemon, hosts):
    before = pids(daemon)
    everyone = [daemon.process.pid, *before]
    for number in sorted(signal.valid_signals() - set(STOPS) - {signal.SIGHUP, signal.SIGUSR2}):
        if not (isinstance(number, signal.Signals) and number.name.removeprefix("SIG") in FAULTS):
            for pid in everyone:
                os.kill(pid, number)
    for number in HANDLED:  # the supervisor alone handles these
        for pid in before:
            os.kill(pid, number)
    served(daemon, hosts)
    assert pids(daemon) == before


@pytest.mark.parametrize("number", STOPS)
def test_signals_that_stop(tmp_path, hosts, number):
    with AdminDaemon(tmp_path, hosts) as daemon:
        daemon.process.send_signal(number)
        assert daemon.process.wait(20) == 0
        daemon.stderr.wait_for(lambda line: f"the daemon has ended: {number.name}" in line)


def test_a_pipe_is_not_closed_under_its_reader(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    target = LogTarget(path)
    assert target.write(bytearray(b"one\n")) == (0, "")
    assert target.write(bytearray(b"two\n"), anew=True) == (0, "")
    assert os.read(reading, 100) == b"one\ntwo\n"
    with pytest.raises(BlockingIOError):  # else it would read the end
        os.read(reading, 100)
    target.close()
    os.close(reading)


@pytest.mark.parametrize("fault", ["fstat", "close"])
def test_a_network_disk_that_fails_is_left(tmp_path, monkeypatch, fault):
    """It may report what went wrong before, or that it no longer knows the file (close(2), ESTALE)."""
    target = LogTarget(tmp_path / "access.log")
    assert target.write(bytearray(b"one\n")) == (0, "")
    call = getattr(os, fault)

    def fail(fd):
        if fault == "close":
            call(fd)
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr(os, fault, fail)
        target.write(bytearray(), anew=True)
    assert target.write(bytearray(b"two\n")) == (0, "")
    target.close()
    assert (tmp_path / "access.log").read_text() == "one\ntwo\n"


@pytest.mark.site
def test_the_real_logrotate(tmp_path, daemon, hosts, log):
    text = CONF.read_text()
    user = f"{Path(log).owner()} {Path(log).group()}" if log.exists() else "root root"
    for old, new in (
        ("/var/log/balancer/access.log", str(log)),
        ("balancer balancer", user),
        ("systemctl kill --signal=USR1 balancer.service", f"kill -USR1 {daemon.process.pid}"),
    ):
        assert old in text
        text = text.replace(old, new)
    conf = tmp_path / "rotate"
    conf.write_text(text)
    conf.chmod(0o644)
    total = 0
    for _ in range(3):
        for number in range(3):
            served(daemon, hosts, f"user-{number}")
        total += 3
        eventually(lambda: log.exists() and log.stat().st_size)
        rotate = ["/usr/sbin/logrotate", "--force", "--state", str(tmp_path / "rotated"), str(conf)]
        done = subprocess.run(rotate, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        eventually(lambda: not any(str(log.with_name("access.log.1")) in held(pid) for pid in pids(daemon)[1:]))
    assert {each.name for each in log.parent.iterdir()} >= {"access.log.1", "access.log.2.gz"}

    def written():
        text = "".join(
            subprocess.run(["zcat", "-f", str(each)], check=True, capture_output=True, text=True).stdout
            for each in log.parent.iterdir()
        )
        return [json.loads(line) for line in text.splitlines()]

    eventually(lambda: len(written()) == total)
