"""What remarks say: each key of the configuration that they name exists."""

import ast
import re
from pathlib import Path

from balancer import migrate
from balancer.config.model import Config

_KEY = re.compile(r"(?<!/)\b(?:limits|timeouts|log|pool|listener|admin)(?:\.[a-z_]+)+\b")


def keys(schema, definitions):
    """Yield the dotted names of all keys below a table."""
    for choice in (schema, *schema.get("anyOf", ()), *schema.get("allOf", ())):
        found = definitions[choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice
        for name, value in found.get("properties", {}).items():
            yield name
            yield from (f"{name}.{below}" for below in keys(value, definitions))
        if "items" in found:
            yield from keys(found["items"], definitions)


def messages():
    for file in Path(migrate.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_key_that_a_remark_names_exists():
    schema = Config.model_json_schema()
    known = set(keys(schema, schema["$defs"]))
    named = {key for text in messages() for key in _KEY.findall(text)}
    assert len(named) > 20
    assert named - known == set()
