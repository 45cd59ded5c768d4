"""Any value of any key is taken or refused with a message: no key ends the check of a file with a traceback."""

import copy
import datetime
import itertools
import re
from typing import get_args

import pytest
from pydantic import ValidationError

from balancer.config.messages import findings
from balancer.config.model import Config
from balancer.config.salvage import repair
from balancer.config.section import Section

BASE = {
    "listener": [{"name": "a", "bind": ["127.0.0.1:1"], "pool": "a"}],
    "pool": [{"name": "a", "backend": [{"name": "a", "address": "127.0.0.1:1"}]}],
}
JUNK = [
    *("", "\n", "ä", "x" * 3000, "http://x", 5, -1, 1.5, float("nan"), True, datetime.date(2026, 1, 1)),
    *([], [""], ["\n"], [5], [{}], {}, {"a": "\n"}, {"x y": 1}, {"": {}}),
]


def sections(annotation):
    """The tables that a value of this type may be, and whether it is an array of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [(annotation, False)]
    array = getattr(annotation, "__origin__", None) is tuple
    return [(kind, array or inner) for each in get_args(annotation) for kind, inner in sections(each)]


def keys(section, path=()):
    for key, name in section.fields_by_key().items():
        yield (*path, key)
        for kind, array in sections(section.model_fields[name].annotation):
            yield from keys(kind, (*path, key, 0) if array else (*path, key))


def planted(path, value):
    """A configuration with this value at the key."""
    document = here = copy.deepcopy(BASE)
    for part, after in itertools.pairwise(path):
        here = here[part] if isinstance(part, int) else here.setdefault(part, [{}] if after == 0 else {})
    here[path[-1]] = copy.deepcopy(value)
    return document


@pytest.mark.parametrize("path", [*keys(Config)], ids=lambda path: ".".join(map(str, path)))
def test_any_value_of_a_key(path):
    for value in JUNK:
        document = planted(path, value)
        try:
            Config.model_validate(document)
        except ValidationError as error:
            found = findings(error)
            assert found, value
            assert all(each.message and "\n" not in each.message for each in found), found
            repair(document, [each.key for each in found])
            Config.model_validate(document)


@pytest.mark.parametrize("path", [*keys(Config)], ids=lambda path: ".".join(map(str, path)))
def test_a_misspelled_key_is_answered_with_those_of_its_table(path):
    document = planted((*path[:-1], f"{path[-1]}x"), 1)
    with pytest.raises(ValidationError) as error:
        Config.model_validate(document)
    (message,) = [each.message for each in findings(error.value) if each.key[-1] == f"{path[-1]}x"]
    known = re.findall(r'"(\w+)"', message) or re.split(", |: ", message)[1:]
    for key in known:  # none of them is an unknown key in its turn
        assert not refused(planted((*path[:-1], key), 1)) & {"unknown key"}, (message, key)


def refused(document):
    try:
        Config.model_validate(document)
    except ValidationError as error:
        return {each.message.partition(";")[0] for each in findings(error)}
    return set()
