"""Holds answers of the admin API to its own description: nothing that is not in it, everything that is."""

import copy
import json
import re

import pytest

from balancer.admin.openapi import document
from balancer.admin.routing import ROUTES

jsonschema = pytest.importorskip("jsonschema")

DESCRIPTION = document(ROUTES)
EXERCISED = set()
"""Operations that have been granted: method and path."""
_PATHS = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in DESCRIPTION["paths"]}
_validators = {}


def _strict(schema):
    """Descriptions leave room for what later versions add; this version must have nothing that they do not tell."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _strict(each)
    elif isinstance(schema, list):
        for each in schema:
            _strict(each)


_STRICT = copy.deepcopy(DESCRIPTION)
_strict(_STRICT["components"])


def check(method, target, answer):
    """Is this a possible answer?"""
    path = target.partition("?")[0]
    found = [known for known, pattern in _PATHS.items() if pattern.fullmatch(path)]
    method = "GET" if method == "HEAD" else method
    if not found or method.lower() not in DESCRIPTION["paths"][found[0]]:
        assert answer.status in (401, 403, 404, 405, 421), (method, target, answer.status)
        return
    responses = DESCRIPTION["paths"][found[0]][method.lower()]["responses"]
    told = f"{method} {found[0]} answers what openapi.py does not tell:"
    assert str(answer.status) in responses, f"{told} {answer.status}"
    content = responses[str(answer.status)]["content"]
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind in content, f"{told} {kind}"
    if answer.status < 300:
        EXERCISED.add((method, found[0]))
    if kind == "application/json" and answer.text:
        _validator(method, found[0], answer.status).validate(json.loads(answer.text))


def _validator(method, path, status):
    key = method, path, status
    if key not in _validators:
        responses = _STRICT["paths"][path][method.lower()]["responses"]
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        _validators[key] = jsonschema.Draft202012Validator({**schema, "components": _STRICT["components"]})
    return _validators[key]
