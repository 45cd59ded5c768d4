"""One number of a daemon's /metrics, through its admin socket."""

import socket

from prometheus_client.parser import text_string_to_metric_families as parse
from wire import Peer, get


def metric(control, name, **labels):
    """The sample of that name with just these labels."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(control))
        with Peer(sock) as peer:
            text = peer.ask(get("/metrics", "Connection: close")).body.decode()
    samples = (sample for family in parse(text) for sample in family.samples)
    return next(sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))
