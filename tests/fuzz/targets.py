"""Every parser that bytes from outside reach, as a function of bytes that fails if something is wrong.

Each has a folder of its name in ``corpus``: inputs that reach different parts of it, and every input that ever
broke it.
"""

from collections.abc import Callable
from pathlib import Path

from fuzz_hosts import agent, probe_http, probe_websocket
from fuzz_http import chunks, requests, responses, token, upgrade
from fuzz_state import admin_body, admin_wire, config, health_file, journal, overlay
from fuzz_wires import client_hello, frames, proxy_header

CORPUS = Path(__file__).parent / "corpus"
TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(requests, responses, chunks, token, upgrade),
        *(proxy_header, client_hello, frames),
        *(probe_http, probe_websocket, agent),
        *(admin_body, admin_wire, config, journal, overlay, health_file),
    )
}


def corpus(name: str) -> list[bytes]:
    """The kept inputs of a target."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
