"""Numbers of a daemon's /metrics, through its admin socket."""

import socket

from prometheus_client.parser import text_string_to_metric_families as parse
from wire import Peer, get


def families(control):
    """Everything that it tells."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(control))
        with Peer(sock) as peer:
            return list(parse(peer.ask(get("/metrics", "Connection: close")).body.decode()))


def metric(control, name, **labels):
    """The sample of that name with just these labels."""
    samples = (sample for family in families(control) for sample in family.samples)
    return next(sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))


def counters(control):
    """All that only grows, by name and labels, but for what is about the process that answers."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families(control)
        if family.type in ("counter", "histogram") and not family.name.startswith("process_")
        for sample in family.samples
    }


def grown_since(before, now):
    """By how much each counter has grown; none may go back."""
    assert not [(name, value, now.get(name, 0)) for name, value in before.items() if now.get(name, 0) < value]
    return {name: value - before.get(name, 0) for name, value in now.items()}
