"""Debian with systemd as process 1, in a container of systemd-nspawn(1) that leaves nothing behind."""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from harness import Output
from wire import PATIENCE, end_with_parent

SUITE = "bookworm"
PACKAGES = "systemd-sysv,dbus,procps"
"""Beyond what is essential."""
_SOURCE, _SITE_PACKAGES, _INTERPRETER = "/opt/source", "/opt/packages", "/opt/interpreter"
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
RELEASE = f"""
mkdir -p "$1/bin" "$1/lib/{_VERSION}/site-packages/balancer-$2.dist-info"
ln -s {_INTERPRETER}/bin/{_VERSION} "$1/bin/python"
echo "home = {_INTERPRETER}/bin" > "$1/pyvenv.cfg"
cd "$1/lib/{_VERSION}/site-packages"
echo {_SITE_PACKAGES} > others.pth
printf 'Metadata-Version: 2.1\\nName: balancer\\nVersion: %s\\n' "$2" > "balancer-$2.dist-info/METADATA"
cp -r {_SOURCE}/balancer .
cat > "$1/bin/balancer" << END
#!/bin/sh
LD_LIBRARY_PATH={_INTERPRETER}/lib exec $1/bin/python -I -X faulthandler -m balancer "\\$@"
END
chmod 0755 "$1/bin/balancer"
"""
"""Makes a release with the interpreter of these tests and all that they can import, of a folder and a version."""
_BOOT = 120.0
"""Seconds that it may take to boot."""

_MOUNTED = """
mount -t tmpfs machine "$1" && mkdir "$1/upper" "$1/work" "$1/root" &&
mount -t overlay machine -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root" &&
shift 2 && exec "$@"
"""
"""Runs a command beside the tree of the machine: mounts that vanish along with the last process in their namespace."""


def debian_tree():
    """Return the folder of a fresh Debian; it is built once and kept. Skips where that cannot be done."""
    if os.geteuid():
        pytest.skip("only root can boot a container")
    needed = ("debootstrap", "systemd-nspawn", "unshare", "nsenter")
    if missing := [each for each in needed if shutil.which(each) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    if tried.returncode or "overlay" not in Path("/proc/filesystems").read_text():
        pytest.skip(f"this kernel cannot do what is needed: mount namespaces, overlayfs {tried.stderr}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "balancer-tests"
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / f"{SUITE}-{PACKAGES.replace(',', '-')}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the tests may be building it
        if not tree.exists():
            _build(tree)
    return tree


def _build(tree):
    unfinished = tree.with_name(f"{tree.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(unfinished)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"debootstrap cannot fetch Debian here: {(built.stdout + built.stderr).strip()[-300:]}")
    shutil.rmtree(unfinished / "var/cache/apt", ignore_errors=True)
    unfinished.rename(tree)


class Debian:
    """A machine that boots ``tree``; a context manager: booted inside, gone with all it wrote after.

    Its mounts are in a ``folder`` of its own. ``network`` is the ``Machine`` whose network it has: ``with network:`` a
    test connects to what listens there. The work tree, its packages and its interpreter are there too, read-only.
    """

    def __init__(self, tree, folder, network):
        self._tree = tree
        self._folder = folder / "machine"
        self._folder.mkdir()
        self.network = network

    def __enter__(self):
        name = f"balancer-{os.getpid()}-{id(self):x}"
        mounts = {
            _SOURCE: Path(__file__).parents[2],
            _SITE_PACKAGES: sysconfig.get_path("purelib"),
            _INTERPRETER: sys.base_prefix,
        }
        notify = self._folder.parent / "notify"
        command = ["unshare", "--mount", "sh", "-c", _MOUNTED, "sh", str(self._folder), str(self._tree)]
        command += ["systemd-nspawn", "--quiet", "--boot", f"--directory={self._folder}/root", f"--machine={name}"]
        command += ["--register=no", "--keep-unit", "--notify-ready=yes", "--console=pipe"]
        command += [f"--network-namespace-path={self.network.path}"]
        command += [f"--bind-ro={there}:{here}" for here, there in mounts.items()]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(str(notify))
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "NOTIFY_SOCKET": str(notify)},
                preexec_fn=end_with_parent,
            )
            self._console = Output(self._process.stdout)
            try:
                self._leader = self._booted(notices)
            except BaseException:
                self.__exit__()
                raise
        return self

    def _booted(self, notices):
        """Wait until it has booted; return the process here that is process 1 there."""
        heard = {}
        ended = os.pidfd_open(self._process.pid)
        try:
            while heard.get("READY") != "1":
                news = select.select([notices, ended], [], [], _BOOT)[0]
                assert news == [notices], f"it has not booted:\n{self._console}"
                heard.update(word.split("=", 1) for word in notices.recv(4096).decode().splitlines())
        finally:
            os.close(ended)
        return int(heard["X_NSPAWN_LEADER_PID"])

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)  # shuts the machine down
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._console.join()
        self._folder.rmdir()

    def inside(self, *command):
        """Return what runs ``command`` there, for the functions of ``subprocess``."""
        environment = ["env", "--ignore-environment", "PATH=/usr/bin:/usr/sbin:/bin:/sbin", "LC_ALL=C.UTF-8"]
        return ["nsenter", f"--target={self._leader}", "--all", "--wd", *environment, *map(str, command)]

    def run(self, *command, check=True, text=None):
        """Run a command there as root, with ``text`` as its standard input, and return its completed process."""
        done = subprocess.run(self.inside(*command), input=text or "", capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command} failed: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def write(self, path, text, mode="0644"):
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, text=text)

    def show(self, unit, *properties):
        """Return properties of a unit as ``systemctl show`` has them; one as its value, several as a dictionary."""
        lines = self.run("systemctl", "show", unit, *(f"--property={each}" for each in properties)).stdout.splitlines()
        values = dict(line.split("=", 1) for line in lines)
        return values if len(properties) != 1 else values[properties[0]]

    def journal(self, unit, *options):
        """Return the messages of a unit and those of systemd about it, a line each."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--output=cat", f"--unit={unit}", *options).stdout.splitlines()

    @contextlib.contextmanager
    def follow(self, unit):
        """Messages of a unit from now on, as an ``Output``."""
        command = self.inside("journalctl", "--output=cat", f"--unit={unit}", "--follow", "--lines=0")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        output = Output(process.stdout)
        try:
            yield output
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # nsenter and the child that it needs
            process.wait()
            output.join()
