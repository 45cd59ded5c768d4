"""The agent check: a program on the host says in one line how it is, in the words of haproxy's ``agent-check``.

Words are separated by spaces, tabs or commas, their order and case do not matter, and what follows a ``#`` is a
comment (haproxy, configuration manual, 5.2): ``75%`` of the configured weight; ``ready``, ``drain``, ``maint``;
``up``, or one of ``down``, ``failed``, ``stopped``. What is not mentioned stays as it was. An agent that does not
answer changes nothing: whether the host can be reached is for probes to say.
"""

import re

import trio

from balancer.config.scalars import Address
from balancer.health.results import AgentReport, Mode
from balancer.probes.connection import NoSocket, ProbeConnection, ProbeFailed

MAX_LINE = 256
_WORDS = re.compile(rb"[ \t,]+")
_PERCENT = re.compile(rb"([0-9]{1,3})%")
_MODES: dict[bytes, Mode] = {b"ready": "ready", b"drain": "drain", b"maint": "maint"}
_DOWN = {b"up": False, b"down": True, b"failed": True, b"stopped": True}


def parse_report(answer: bytes) -> AgentReport:
    """What the first line of ``answer`` says; other words are ignored, of several of one kind the last counts."""
    percent, mode, down = None, None, None
    line = re.split(rb"[\r\n]", answer, maxsplit=1)[0].partition(b"#")[0]
    for word in _WORDS.split(line.lower()):
        if match := _PERCENT.fullmatch(word):
            percent = min(int(match[1]), 100)
        elif word in _MODES:
            mode = _MODES[word]
        elif word in _DOWN:
            down = _DOWN[word]
    return AgentReport(percent, mode, down)


async def ask_agent(address: Address, patience: float) -> AgentReport | None:
    """What the agent at ``address`` says, or None if it says nothing within ``patience`` seconds."""
    line = b""
    with trio.move_on_after(patience):
        try:
            link = await ProbeConnection.open(address)
            try:
                while b"\n" not in line and len(line) < MAX_LINE and (data := await link.receive()):
                    line += data
            finally:
                link.close()
        except (ProbeFailed, NoSocket):
            return None
        return parse_report(line)
    return None
