"""Have the next version rehearse: it starts as a child, reads everything it would take over, and says what it finds."""

import os
import subprocess

import msgspec
import trio

from balancer.errors import Refused
from balancer.ipc.supervision import WantUpgrade
from balancer.upgrade.findings import Findings
from balancer.upgrade.release import Release
from balancer.upgrade.state import Handover, dump, seal

TIMEOUT = 120.0
"""Seconds that a rehearsal may take."""
_LAST_LINES = 3
"""Of what it says on standard error, if it fails."""


async def rehearse(release: Release, state: Handover, wanted: WantUpgrade) -> Findings:
    """Return what the rehearsal finds. Raise ``Refused`` if the release cannot take over."""
    try:
        fd = seal(dump(state))
    except OSError as error:
        raise Refused(f"no memory for what the next version needs: {error.strerror}") from None
    try:
        with trio.move_on_after(TIMEOUT):
            done = await trio.run_process(
                release.command("-m", "balancer.daemon.start", "balancer.daemon.rehearsal", str(fd)),
                stdin=msgspec.json.encode(wanted),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                pass_fds=[fd, *state.memory],
                process_group=0,
            )
            return _findings(done)
    except OSError as error:
        raise Refused(f"{release.python} cannot be started: {error.strerror}") from None
    finally:
        os.close(fd)
    raise Refused(f"its rehearsal did not end within {TIMEOUT:g} s")


def _findings(done: "subprocess.CompletedProcess[bytes]") -> Findings:
    try:
        findings = msgspec.json.decode(done.stdout, type=Findings)
    except msgspec.MsgspecError:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise Refused(f"its rehearsal failed (exit status {done.returncode}): {' / '.join(said)}") from None
    if findings.problems:
        raise Refused("; ".join(findings.problems))
    return findings
