"""What differs between two configurations: something if and only if they do, and never a secret."""

import json

from hypothesis import given
from hypothesis import strategies as st

from balancer.config.difference import as_written, differences
from balancer.config.model import Config

SEED = "a-seed-that-nobody-may-see"
names = st.sampled_from(["a", "b", "c"])
seeds = st.sampled_from(["", SEED, SEED[::-1]])


def unique(tables):
    return st.lists(tables, min_size=1, max_size=3, unique_by=lambda table: table["name"])


backends = st.fixed_dictionaries(
    {"name": names, "address": st.sampled_from(["10.0.0.1:1", "unix:/run/a.sock"])},
    optional={"weight": st.sampled_from([0.5, 2.0]), "backup": st.booleans()},
)
rings = st.fixed_dictionaries(
    {"seed": seeds},
    optional={
        "points": st.sampled_from([100, 200]),
        "before": st.fixed_dictionaries({"seed": seeds}),
        "rehomed": st.just(0.5),
    },
)
pools = st.fixed_dictionaries({"name": names, "ring": rings, "backend": unique(backends)})
listeners = st.fixed_dictionaries(
    {
        "name": names,
        "bind": st.lists(st.sampled_from(["127.0.0.1:1", "[::1]:2"]), min_size=1, max_size=2, unique=True),
        "pool": names,
    }
)
configs = st.builds(
    lambda **tables: Config.model_validate(tables),
    workers=st.sampled_from(["auto", 1, 2]),
    timeouts=st.fixed_dictionaries({}, optional={"idle": st.sampled_from(["1s", "2s"])}),
    listener=unique(listeners),
    pool=unique(pools),
)


@given(configs, configs)
def test_there_is_one_if_and_only_if_they_are_not_equal(old, new):
    found = differences(old, new)
    assert bool(found) == (old != new)
    assert not differences(old, old.model_copy(deep=True))
    assert len({(each.kind, each.text) for each in found}) == len(found), "nothing is said twice"


@given(configs, configs)
def test_sockets_are_those_that_only_one_of_them_has(old, new):
    found = differences(old, new)
    before, after = ({str(each) for listener in config.listener for each in listener.bind} for config in (old, new))
    assert {each.text.split(" ")[3].rstrip(";") for each in found if each.kind == "opens"} == after - before
    assert {each.text.split(" ")[3].rstrip(";") for each in found if each.kind == "closes"} == before - after


def everything(*models):
    """Secrets too."""
    return "".join(model.model_dump_json() for model in models)


@given(configs, configs)
def test_no_secret_is_shown(old, new):
    written = [as_written(each, lambda _: "a digest") for each in (old, new)]
    shown = json.dumps(written) + "".join(each.text for each in differences(old, new))
    assert SEED not in shown
    assert SEED[::-1] not in shown
    assert ("a digest" in shown) == (SEED in everything(old, new) or SEED[::-1] in everything(old, new))


def test_in_the_words_of_the_file():
    def config(**pool):
        pool = {"name": "ide", "backend": [{"name": "a", "address": "10.0.0.1:1"}], **pool}
        listener = {"name": "web", "bind": ["127.0.0.1:1"], "pool": "ide"}
        return Config.model_validate({"listener": [listener], "pool": [pool]})

    two = [{"name": "a", "address": "10.0.0.9:1"}, {"name": "b", "address": "10.0.0.2:1"}]
    texts = [each.text for each in differences(config(), config(linger="1m", backend=two, ring={"seed": SEED}))]
    assert texts == [
        'pool "ide" > ring > seed: changes (secret)',
        'pool "ide" > linger: 30s -> 1m',
        'pool "ide" > backend "a" > address: "10.0.0.1:1" -> "10.0.0.9:1"',
        'pool "ide" > backend "b": added',
    ]
