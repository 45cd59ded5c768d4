"""When a request is sent again: as often, for as long and for as many requests as the pool allows."""

from playbooks import GET, OK, error
from proxy_rig import run

from balancer.config.settings import RetrySettings
from balancer.pool.retries import SPARE_RATE, Limit

UNANSWERED = error(502, b"the backend closed without an answer", keep=True)


def tries(rig):
    return [len(host.connections) for host in rig.hosts.values()]


async def closes(rig, name):
    """The backend closes its latest connection without an answer."""
    rig.hosts[name].last.finish()
    await rig.settle()


def exhaust(rig):
    """Spend the budget of the pool."""
    while rig.pool.retries.spend(rig.engine.now, 0, 0):
        pass


def test_as_often_as_the_pool_allows():
    async def work(rig):
        client = await rig.client(GET)
        for name in "aab":
            await closes(rig, name)
        assert tries(rig) == [2, 1, 0]
        assert client.got == UNANSWERED
        assert (rig.pool.retries.made, rig.pool.retries.given_up[Limit.COUNT]) == (2, 1)

    run(work, names="abc", pool={"retry": RetrySettings(count=2)})


def test_for_as_long_as_the_pool_allows():
    async def work(rig):
        first = await rig.client(GET)
        await rig.passes(4)
        await closes(rig, "a")
        assert tries(rig) == [2, 0]
        await rig.passes(2)
        await closes(rig, "a")
        assert tries(rig) == [2, 0]
        assert first.got == UNANSWERED
        assert rig.pool.retries.given_up[Limit.TIME] == 1

    run(work, pool={"retry": RetrySettings(time=5.0)})


def test_for_as_many_requests_as_the_budget_allows():
    async def work(rig):
        exhaust(rig)
        client = await rig.client(GET)
        await closes(rig, "a")
        assert tries(rig) == [1, 0]
        assert client.got == UNANSWERED
        assert rig.pool.retries.given_up[Limit.BUDGET] == 1

    run(work, pool={"retry": RetrySettings(budget=0.0)})


def test_the_budget_grows_with_time():
    async def work(rig):
        exhaust(rig)
        await rig.passes(1 / SPARE_RATE)
        await rig.client(GET)
        await closes(rig, "a")
        assert tries(rig) == [2, 0]

    run(work, pool={"retry": RetrySettings(budget=0.0)})


def test_the_budget_grows_with_requests():
    async def work(rig):
        exhaust(rig)
        client = await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.send(client, GET)
        await closes(rig, "a")  # a kept connection that is closed costs nothing
        await closes(rig, "a")
        assert tries(rig) == [3, 0], "a share of one half of two requests is one retry"

    run(work, pool={"retry": RetrySettings(budget=0.5)})


def test_backends_that_refuse_are_retries_too():
    async def work(rig):
        exhaust(rig)
        rig.hosts["a"].refuse()
        client = await rig.client(GET)
        assert tries(rig) == [0, 0]
        assert client.got == error(503, b"no backend could be reached", keep=True)

    run(work, pool={"retry": RetrySettings(budget=0.0)})


def test_not_for_a_client_that_has_left():
    """Its end comes in the same moment as that of the backend's connection."""

    async def work(rig):
        client = await rig.client(GET)
        rig.hosts["a"].last.finish()
        client.close()
        await rig.settle()
        assert tries(rig) == [1, 0]
        assert rig.pool.retries.made == 0

    run(work)


def test_a_backend_that_refused_is_tried_last_for_a_while():
    async def work(rig):
        rig.hosts["a"].refuse()
        client = await rig.client(GET)
        await rig.send(rig.hosts["b"].last, OK)
        await rig.send(client, GET)
        await rig.send(rig.hosts["b"].last, OK)
        assert [tries for *_, tries in rig.log.lines] == [2, 1]

    run(work)
