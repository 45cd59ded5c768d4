"""A reload: what takes long is done in a thread, and what has not changed is kept."""

import threading

import trio
from certificates import certificate
from proxy_rig import Records, a_board

from balancer.config.pool import BackendConfig, PoolConfig, RingConfig
from balancer.config.scalars import Address
from balancer.config.settings import (
    BackendSettings,
    BackendTlsSettings,
    ListenerSettings,
    PoolSettings,
    TlsSettings,
    WorkerSettings,
)
from balancer.health.availability import AVAILABLE, Availability
from balancer.ipc.messages import Applied, PoolSnapshot, Setup, Update
from balancer.ipc.placement import placement_state
from balancer.net import contexts
from balancer.net.engine import Engine
from balancer.pool.digest import Digest
from balancer.pool.placement import Placement
from balancer.proxy.control_client import ControlClient
from balancer.proxy.listening_sockets import ListeningSockets
from balancer.proxy.worker_state import WorkerState
from balancer.ring import mapped
from balancer.ring.build import build


class Site:
    """A worker, and control as far as it sends ``Setup``; there are no sockets."""

    def __init__(self, nursery):
        self.worker = WorkerState(Engine(), Records(), a_board())
        self.client = ControlClient(self.worker, ListeningSockets(), nursery)
        self.number = 0

    async def tell(self, message):
        answers = []
        assert await self.client.handle(message, answers.append)
        assert [type(answer) for answer in answers] == [Applied]

    async def set_up(self, certificates=None, tls=BackendTlsSettings(), ring=None, **pool):  # noqa: B008
        self.number += 1
        names = "abcd"
        ring = build(
            PoolConfig(
                name="ide",
                ring=RingConfig(**(ring or {})),
                backend=tuple(BackendConfig(name=name, address="127.0.0.1:9") for name in names),
            )
        )
        placement = Placement(
            ring=ring,
            addresses=dict.fromkeys(names, Address("127.0.0.1", 9)),
            digest=Digest(b""),
            weights=dict.fromkeys(names, 1.0),
            slots={name: number for number, name in enumerate(names)},
        )
        settings = WorkerSettings(
            listener=(ListenerSettings("web", "ide", tls=TlsSettings(tuple(certificates)) if certificates else None),),
            pool=(PoolSettings("ide", tls=tls, backend=tuple(map(BackendSettings, names)), **pool),),
        )
        snapshot = PoolSnapshot(placement_state(placement), dict.fromkeys(names, AVAILABLE), {})
        await self.tell(Setup(self.number, self.number, settings, 0, b"key", "info", {"ide": snapshot}))

    def close(self):
        self.worker.release()
        self.worker.engine._epoll.close()
        self.worker.engine._bell.close()


async def with_site(work):
    async with trio.open_nursery() as nursery:
        site = Site(nursery)
        try:
            await work(site)
        finally:
            site.close()
            nursery.cancel_scope.cancel()


async def test_one_changed_certificate_of_many_is_loaded_alone(monkeypatch):
    built = []
    original = contexts._context

    def counting(tls, pems):
        built.append((pems[0].names, threading.current_thread()))
        return original(tls, pems)

    monkeypatch.setattr(contexts, "_context", counting)

    async def work(site):
        certificates = [certificate(f"h{number}.example") for number in range(200)]
        await site.set_up(certificates)
        assert len(built) == 200
        before = site.client.listeners["web"]._contexts.by_certificates
        built.clear()
        certificates[7] = certificate("h7.example")
        await site.set_up(certificates)
        assert [names for names, _ in built] == [("h7.example",)]
        assert all(thread is not threading.main_thread() for _, thread in built)
        after = site.client.listeners["web"]._contexts.by_certificates
        assert sum(after.get(key) is context for key, context in before.items()) == 199

    await with_site(work)


async def test_tls_to_backends_outlives_a_reload_that_leaves_it_alone():
    """With it live the sessions that spare both sides a full handshake."""

    async def work(site):
        tls = BackendTlsSettings(enabled=True, verify=False)
        await site.set_up(tls=tls)
        kept = site.worker.backend_tls["ide"]
        await site.set_up(tls=BackendTlsSettings(enabled=True, verify=False), max_connections=7)
        assert site.worker.backend_tls["ide"] is kept
        await site.set_up(tls=BackendTlsSettings(enabled=True, verify=False, server_name="other"))
        assert site.worker.backend_tls["ide"] is not kept

    await with_site(work)


async def test_tables_without_lost_backends_are_built_in_a_thread(monkeypatch):
    threads = []
    original = mapped.fill

    def counting(weights):
        threads.append(threading.current_thread())
        return original(weights)

    monkeypatch.setattr(mapped, "fill", counting)

    async def work(site):
        await site.set_up(ring={"algorithm": "haproxy"})
        threads.clear()
        down = {"b": Availability("down", down=True)}
        await site.tell(Update(9, "ide", None, down, {}))
        assert threads
        assert threading.main_thread() not in threads
        threads.clear()
        pool = site.worker.pools["ide"]
        for number in range(50):
            next(pool.candidates(b"t%d" % number, 0.0))
        assert not threads

    await with_site(work)
