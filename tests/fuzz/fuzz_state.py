"""What operators and disks can hold: bodies of the admin API, its wire, the configuration, the files of the state."""

import atexit
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import h11
import trio
import trio.testing

from balancer.admin import requests, server
from balancer.config.listener import ListenerConfig
from balancer.config.load import check
from balancer.config.model import Config
from balancer.config.pool import BackendConfig, PoolConfig, RingConfig
from balancer.config.section import Section
from balancer.control.pools import Pools
from balancer.errors import Refused
from balancer.overlay.entries import Entry
from balancer.overlay.overlay import Overlay, Pin
from balancer.store.health_file import HealthFile
from balancer.store.journal import Journal

_BODIES = [
    *(
        requests.TokenBody,
        requests.ExplainBody,
        requests.PinBody,
        requests.PlanBody,
        requests.StateBody,
        requests.WeightBody,
    ),
    *(requests.RampBody, requests.SettleBody, requests.TraceBody),
]
_WEIGHTS = {"ide-01": 1.0, "ide-02": 2.0, "ide-03": 0.0}
_NOW = 1_700_000_000.0
_CONFIG = Config(
    listener=(ListenerConfig(name="ide", bind=("127.0.0.1:0",), pool="ide"),),
    pool=(
        PoolConfig(
            name="ide",
            ring=RingConfig(points=4),
            backend=[
                BackendConfig(name=name, address=f"10.0.0.1:{n}") for n, name in enumerate(("ide-01", "ide-02"), 1)
            ],
        ),
    ),
)
_FOLDER = tempfile.TemporaryDirectory(prefix="balancer-fuzz-")
atexit.register(_FOLDER.cleanup)


def admin_body(data: bytes) -> None:
    """A body of the admin API, of the kind the first byte says; the changes of a plan are made on an overlay."""
    kind = _BODIES[data[0] % len(_BODIES)] if data else requests.PlanBody
    try:
        body = requests.parse(kind, data[1:])
        if isinstance(body, requests.PlanBody):
            overlay = Overlay()
            for change in body.changes:
                overlay = overlay.apply(change, _WEIGHTS, _NOW)
                assert overlay.live_weights(_WEIGHTS, _NOW + 1)
    except Refused as error:
        assert str(error)
        return
    assert isinstance(body, Section)
    assert requests.parse(kind, body.model_dump_json().encode()) == body, "a body is not what it says of itself"


def admin_wire(data: bytes) -> None:
    """A connection to the admin API: whatever comes, complete answers go back, and it ends."""
    answers = trio.run(_converse, data, clock=trio.testing.MockClock(autojump_threshold=0))
    while answers:
        reader = h11.Connection(h11.CLIENT)
        head_only = answers.startswith(b"HTTP/1.1 299 ")
        reader.send(h11.Request(method="HEAD" if head_only else "GET", target="/", headers=[("Host", "a")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(answers)
        events = [reader.next_event()]
        while not isinstance(events[-1], h11.EndOfMessage):
            assert events[-1] is not h11.NEED_DATA, "an answer is cut short"
            events.append(reader.next_event())
        answers = reader.trailing_data[0]


async def _converse(data: bytes) -> bytes:
    ours, theirs = trio.testing.memory_stream_pair()
    ours.socket = None

    async def answer(request: server.ApiRequest, _: object) -> server.ApiResponse:
        assert isinstance(request.body, bytes)
        text = json.dumps([request.method, request.path, dict(request.query), dict(request.headers)])
        status = {"HEAD": 299, "CONNECT": 405}.get(request.method, 200)
        return server.ApiResponse(status, text.encode(), "application/json")

    async with trio.open_nursery() as nursery:
        with trio.fail_after(2 * server.CLIENT_TIMEOUT):
            nursery.start_soon(server.converse, ours, answer, trio.Semaphore(1), server.Unanswered())
            await theirs.send_all(data)
            await theirs.send_eof()
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await ours.aclose()
    got = b""
    with trio.move_on_after(1):
        while more := await theirs.receive_some():
            got += more
    return got


def config(data: bytes) -> None:
    """A configuration file: a configuration, or problems each of which says where and what."""
    file = Path(_FOLDER.name) / "balancer.toml"
    file.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the parser of certificates
        report = check(file, _NOW)
    assert (report.config is None) == bool(report.problems)
    last = data.count(b"\n") + 1
    for problem in [*report.problems, *report.warnings]:
        assert problem.message
        assert problem.line is None or 1 <= problem.line <= last
        assert str(problem).isprintable(), "a problem would upset a terminal"


def journal(data: bytes) -> None:
    """A journal: it is read, nothing of it is lost, and the next change is remembered."""
    _started({"journal.jsonl": data})


def overlay(data: bytes) -> None:
    """The sum of a journal, of any content."""
    _started({"overlay.json": data})


def health_file(data: bytes) -> None:
    """What was held of the backends."""
    folder = Path(_FOLDER.name)
    (folder / "health.json").write_bytes(data)
    with _quiet():
        memory = HealthFile(folder).read()
    for known in memory.values():
        for each in known.values():
            assert each.text.isprintable()


def _started(files: dict[str, bytes]) -> None:
    """A daemon's start and the next with these files in the state directory: an acknowledged change is remembered."""
    with _quiet(), tempfile.TemporaryDirectory(dir=_FOLDER.name) as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        with closing(Journal(folder)) as store:
            try:
                pools = _pools(store)
            except Refused:
                assert b'"min"' in b"".join(files.values()), "only what a newer version has written is refused"
                return
            before, _ = store.newest("ide", 1 << 20)
            pin = Pin(digest="0123456789abcdef", backend="ide-01", since=_NOW)
            try:
                pools.get("ide").overlay.apply(pin, pools.get("ide").configured, _NOW)
            except Refused:
                return  # nobody would have acknowledged it
            change = Entry(seq=pools.seq + 1, time=_NOW, who="fuzz", pool="ide", changes=(pin,), after="b")
            store.append(change)
            assert store.newest("ide", 1 << 20)[0] == [*before, change]
        with closing(Journal(folder)) as store:
            pools = _pools(store)
            assert pools.seq == change.seq
            assert pools.get("ide").overlay.pins[pin.key] == pin, "an acknowledged change was forgotten"


def _pools(store: Journal) -> Pools:
    return Pools(_CONFIG, store, lambda: _NOW)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the log, which says of every damage what it is."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
