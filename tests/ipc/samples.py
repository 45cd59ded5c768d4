"""One example of every message, with every field set: what the golden files hold."""

from balancer.config.pem import Pem
from balancer.config.scalars import Address, Memory
from balancer.config.settings import (
    Answer,
    BackendSettings,
    BackendTlsSettings,
    BoundSettings,
    ChallengeFolder,
    ClientCertificates,
    ConditionSettings,
    Deny,
    ErrorPage,
    KeySettings,
    LimitSettings,
    ListenerSettings,
    LogSettings,
    PassiveSettings,
    PlaceSettings,
    PoolHealthSettings,
    PoolSettings,
    Redirect,
    RetrySettings,
    RuleSettings,
    TimeoutSettings,
    TlsSettings,
    TokenSettings,
    ToPool,
    WorkerSettings,
)
from balancer.health.availability import Availability
from balancer.health.tally import Tally
from balancer.ipc import messages as m
from balancer.ipc import supervision as s
from balancer.ipc.placement import PlacementState
from balancer.ipc.rings import CircleState, HashState, MappedState, RehomingState

_PEM = Pem(b"cert", b"key", ("ide.example",))
_CIRCLE = CircleState(("a", "b"), {"a": 1.0, "b": 2.0}, "f" * 16, HashState("md5"), bytes(16), b"\0\0\1\0")
_MAPPED = MappedState(("a", "b"), {"a": 1.0, "b": 2.0}, "e" * 16, HashState("sdbm"), b"\0\0\1\0\1\0", {"a": 1, "b": 2})
PLACEMENT = PlacementState(
    ring=RehomingState(("a", "b"), {"a": 1.0, "b": 2.0}, "d" * 16, _CIRCLE, _MAPPED, 0.5),
    addresses={"a": Address("10.0.0.1", 80), "b": Address(path="/run/b.sock")},
    pins={"0123456789abcdef": "a"},
    prefixes=((4, {"fedcba9876543210": "b"}),),
    states={"b": "drain"},
    weights={"a": 1.0, "b": 2.0},
    backups=("b",),
    slots={"a": 0, "b": 1},
)
AVAILABILITIES = {"a": Availability(), "b": Availability("unhealthy: status 500", True, "ejected: 5 in a row", "drain")}
PLACES = {b"\xfftoken": ("a", True), b"other": None}
WHEN = ConditionSettings(
    ("ide.example",),
    ("/x",),
    ("/y",),
    ("sni.example",),
    ("GET",),
    ("token",),
    {"X-A": "1", "X-B": True},
    ("10.0.0.0/8",),
)
RULES = (
    RuleSettings(ToPool("ide"), WHEN, (ConditionSettings(method=("POST",)),)),
    RuleSettings(Deny(403), ConditionSettings()),
    RuleSettings(Redirect(301, "/x", "https", "ide.example", "/y", ("ide.example",)), ConditionSettings()),
    RuleSettings(ChallengeFolder("/var/www/acme"), ConditionSettings()),
    RuleSettings(Answer(200, "text/plain", b"ok"), ConditionSettings()),
)
SETTINGS = WorkerSettings(
    listener=(
        ListenerSettings(
            name="web",
            pool="ide",
            mode="http",
            key="sni",
            proxy_protocol="accept",
            max_connections=7,
            trusted=("10.0.0.0/8",),
            error_pages={503: ErrorPage(503, b"Content-Type: text/html\r\n", b"page")},
            tls=TlsSettings((_PEM,), "1.3", ClientCertificates(True, b"authority", b"crl")),
            rule=RULES,
            socket_keys=("127.0.0.1:443",),
            slot=3,
        ),
    ),
    pool=(
        PoolSettings(
            name="ide",
            token=TokenSettings(
                source="header",
                param="t",
                header="x-token",
                prefix="Bearer ",
                cookie="session",
                depth=1,
                leading_bytes=2,
                duplicates="last",
                decode=False,
                max_length=100,
                fallback=(PlaceSettings(source="referer", param="u"),),
                remember="user",
                remember_same_site="none",
                missing="spread",
                rate=2.0,
                burst=3,
            ),
            ring=BoundSettings(1.25, 150),
            health=PoolHealthSettings(0.5, "close", PassiveSettings("on", ("connect", "5xx"))),
            tls=BackendTlsSettings(True, True, b"authority", "name", _PEM),
            send_proxy="v2",
            retry=RetrySettings(1, 2.0, 0.5),
            max_connections=9,
            queue=8,
            queue_timeout=7.0,
            when_full="successor",
            linger=6.0,
            backend=(BackendSettings("a", 5, "a.example"),),
        ),
    ),
    limits=LimitSettings(1, 2, 3.0, 4, 5, 6, Memory(bytes=7), 8, 9),
    timeouts=TimeoutSettings(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    log=LogSettings("/var/log/access.log", "json"),
)
OPENED = m.Opened(7, "ide", b"\xfftoken", "a", "10.0.0.9", "web", 1_700_000_000.5)
DOOR = s.Door("/run/balancer/admin.sock", "unix:/run/balancer/admin.sock", 4711)
UPGRADE = s.Upgrade(
    *(2, "went back", "uid 0", "0.3.0", "0.4.0", "/opt/balancer/releases/0.4.0", "it could not take over"),
    *(("another default",), 1_700_000_000.5, {"done": 1, "went back": 1}),
)
SAMPLES = [
    m.Setup(
        *(1, 2, SETTINGS, 3, b"secret", "info", {"ide": m.PoolSnapshot(PLACEMENT, AVAILABILITIES, PLACES)}),
        keys=KeySettings(passes=(b"pass", b"former"), seals=(b"seal",)),
        accepts=False,
    ),
    m.Update(4, "ide", PLACEMENT, AVAILABILITIES, PLACES),
    m.End((7, 8), "the drain of a is over", 30.0),
    m.ReportRequest(5),
    m.TrafficRequest(6, (7, 8)),
    m.SetLevel("debug"),
    m.Retire(3600.0, 30.0),
    m.Ping(9),
    m.TestYourself(10),
    OPENED,
    m.Ended(7),
    m.Attached("0.2.0", m.WIRE, "3.11.2", (OPENED,)),
    m.Applied(4, 2, {"ide": "d" * 16}),
    m.Rejected(4, "Too many open files"),
    m.WorkerReport(
        5,
        {"crashes": 1, "pools": {"ide": {"retries": 2}}},
        {"sessions": 3},
        {"ide": {"a": Tally(1, 2, {"x": 1}, {"y": 1})}},
    ),
    m.SessionTraffic(6, {7: (100, 200)}),
    m.Pong(9),
    m.Tested(10, "no answer"),
    m.NotUnderstood(99, 1, "type 99 is unknown here"),
    s.ListeningFds(3, ("127.0.0.1:443", "[::1]:443"), ("[::1]:443",)),
    s.LinkEnd(2, 4711, 3),
    s.Drain(),
    s.EndNow(),
    s.ReloadNow(),
    s.Stop(),
    s.LameDuck(20.0),
    s.ReopenLog(),
    s.Begin((DOOR, s.Door("127.0.0.1:9000", "127.0.0.1:9000")), 5.0),
    s.HandOver(),
    s.UpgradeNow(),
    UPGRADE,
    s.Processes(
        (s.ProcessFacts("control", 12, 1), s.ProcessFacts("worker 0", None, 2, "signal SIGKILL", 3, "0.3.0")), 3
    ),
    s.SocketsGranted({"127.0.0.1:443": ("127.0.0.1:443",)}),
    s.SocketsRefused("127.0.0.1:443: Address already in use", True),
    s.SocketsCommitted(3),
    s.Heartbeat(),
    s.Relink(),
    s.Resend(),
    s.Draining(),
    s.WantSockets({"127.0.0.1:443": ("127.0.0.1", 443)}, 2),
    s.AbortSockets(),
    s.CommitSockets(2, 10.0, "info", "json"),
    s.Ready(),
    s.Reloading(),
    s.Reloaded(),
    s.StatusText("connections: 3, tunnels: 1"),
    s.Counted(),
    s.WantUpgrade(
        *("/opt/balancer/releases/0.4.0", "uid 0", True, True, 10.0),
        {"ide": s.RingFacts("d" * 16, {"a": 1.0, "b": 2.0})},
    ),
    s.Warm(),
    s.Answering(),
    s.HandedOver((DOOR,)),
    s.Proven("worker 2 has tested itself: no answer"),
]
