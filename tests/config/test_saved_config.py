"""A configuration that is written out by the daemon is read back as what it was: to remember it, and to show it."""

import json
import tomllib
from pathlib import Path

import pytest

from balancer.admin.routes.reload import toml_of
from balancer.config.difference import as_written
from balancer.config.model import Config

CONF = Path(__file__).parents[2] / "conf"
RULES = [
    {"path": ["/a"], "deny": 403, "not": [{"client": ["10.0.0.0/8"]}, {"header": {"X-Beta.1": "1", "X-Test": True}}]},
    {"sni": ["ide.example"], "redirect": {"scheme": "https", "code": 308}},
    {"query": ["ping"], "answer": {"text": "ok"}, "not": {"method": ["POST"]}},
]
EVERYTHING = {
    "key_file": "/etc/secret.key",
    "limits": {"client_rate": "7/m", "memory": "2GiB"},
    "timeouts": {"head": "1.5s", "lame": "0s", "drain": "90s", "send": "7ms"},
    "listener": [
        {
            "name": "web",
            "bind": ["127.0.0.1:1", "[::1]:1"],
            "pool": "ide",
            "trusted": ["10.0.0.0/8"],
            "rule": RULES,
            "route": [{"host": ["*.ide.example"], "pool": "ide"}],
            "request_fields": {"set": {"X.Real.IP": "{client_address}"}, "add": {"Via": ["a", "b"]}},
        }
    ],
    "pool": [
        {
            "name": "ide",
            "drain": "never",
            "token": {"rate": "1/h", "fallback": [{"source": "header", "header": "X-Token"}]},
            "ring": {"rehomed": 0.05, "before": {"algorithm": "haproxy", "hash_type": "consistent"}},
            "health": {"type": "http", "expect_status": [200, "3xx"], "passive": {"mode": "on"}},
            "backend": [{"name": "a", "address": "unix:/run/a.sock", "health": {"rise": 7}}],
        }
    ],
}


@pytest.fixture(params=["everything", "prod.toml", "demo.toml"])
def config(request):
    if request.param == "everything":
        return Config.model_validate(EVERYTHING)
    return Config.model_validate(tomllib.loads((CONF / request.param).read_text()), context={"base": CONF})


def test_what_is_remembered(config):
    assert Config.model_validate(json.loads(config.model_dump_json())) == config


def test_what_is_shown(config):
    written, given = (as_written(config, str, defaults=defaults) for defaults in (True, False))
    text = toml_of(written, given)
    assert Config.model_validate(tomllib.loads(text)) == config
    complete = "".join(f"{line.removeprefix('# ')}\n" for line in text.splitlines())
    assert Config.model_validate(tomllib.loads(complete)) == config, "what is behind a # is what it would be without"
