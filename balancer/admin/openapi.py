"""The admin API described for programs, as OpenAPI 3.1: from the routes, the types of bodies and of answers.

https://spec.openapis.org/oas/v3.1.0.html
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from balancer.admin import requests
from balancer.admin.responses import changes, common, plans, pools, reload, ring, sessions, status
from balancer.admin.server import ApiResponse
from balancer.config.model import Section

TEXT = "text/plain"
SVG = "image/svg+xml"
EVENTS = "text/event-stream"
JSON = "application/json"

Routes = Mapping[str, Mapping[str, Callable[..., Awaitable[ApiResponse]]]]
"""By path and method."""


@dataclass(frozen=True)
class Operation:
    """What goes in and comes out at one method of a path."""

    answer: Any = None
    """Type of the JSON that is answered, if any is."""
    body: type[Section] | None = None
    status: int = 200
    """Of an answer to a request that was granted."""
    others: tuple[str, ...] = ()
    """Other types than JSON that it answers if ``Accept`` asks for them."""
    query: Mapping[str, str] | None = None
    """Whole numbers that may stand in the query, and what they mean."""
    words: Mapping[str, str] | None = None
    """Texts that may stand in the query, and what they mean."""
    unavailable: Any = None
    """Type of the JSON that comes with 503, for those that know it."""


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/healthz"): Operation(status.Alive),
    ("GET", "/readyz"): Operation(status.Readiness, unavailable=status.Readiness),
    ("GET", "/metrics"): Operation(others=(TEXT, "application/openmetrics-text")),
    ("GET", "/v1/openapi.json"): Operation(dict[str, Any]),
    ("GET", "/v1/status"): Operation(status.Status),
    ("GET", "/v1/events"): Operation(
        others=(EVENTS,), query={"last": "older events to begin with"}, unavailable=common.Error
    ),
    ("GET", "/v1/reload"): Operation(reload.ReloadState),
    ("POST", "/v1/reload"): Operation(reload.Reloaded, requests.ReloadBody, others=(TEXT,)),
    ("GET", "/v1/config"): Operation(reload.ConfigInForce),
    ("GET", "/v1/certificates"): Operation(reload.Certificates),
    ("GET", "/v1/sessions"): Operation(
        sessions.Sessions,
        query={"limit": "tunnels to list"},
        words={"pool": "of this pool", "backend": "on this backend", "user": "of this user, by digest"},
    ),
    ("DELETE", "/v1/sessions/{session}"): Operation(sessions.SessionEnded),
    ("GET", "/v1/log-level"): Operation(status.LogLevel),
    ("PUT", "/v1/log-level"): Operation(status.LogLevel, requests.LogLevelBody),
    ("GET", "/v1/pools"): Operation(pools.PoolsView),
    ("GET", "/v1/pools/{pool}"): Operation(pools.PoolView),
    ("GET", "/v1/pools/{pool}/backends"): Operation(pools.Backends),
    ("PUT", "/v1/pools/{pool}/backends/{backend}/state"): Operation(
        changes.BackendChanged | changes.StatePreviewView, requests.StateBody
    ),
    ("PUT", "/v1/pools/{pool}/backends/{backend}/weight"): Operation(changes.BackendChanged, requests.WeightBody),
    ("POST", "/v1/pools/{pool}/backends/{backend}/ramp"): Operation(changes.BackendChanged, requests.RampBody),
    ("GET", "/v1/pools/{pool}/ring"): Operation(ring.RingView, others=(TEXT,)),
    ("POST", "/v1/pools/{pool}/explain"): Operation(
        ring.ExplanationNow | ring.ExplanationThen, requests.ExplainBody, others=(TEXT,)
    ),
    ("POST", "/v1/pools/{pool}/digest"): Operation(changes.DigestView, requests.TokenBody),
    ("POST", "/v1/pools/{pool}/plan"): Operation(plans.PlanView, requests.PlanBody, others=(TEXT,)),
    ("GET", "/v1/pools/{pool}/pins"): Operation(changes.Pins),
    ("POST", "/v1/pools/{pool}/pins"): Operation(changes.Pinned, requests.PinBody, status=201),
    ("DELETE", "/v1/pools/{pool}/pins/{digest}"): Operation(
        changes.Unpinned, query={"prefix": "length of the beginning that is pinned, for the pin of one"}
    ),
    ("GET", "/v1/pools/{pool}/strays"): Operation(plans.Strays, query={"limit": "strays to list"}),
    ("POST", "/v1/pools/{pool}/settle"): Operation(plans.SettlingNow, requests.SettleBody, status=202),
    ("DELETE", "/v1/pools/{pool}/settle"): Operation(plans.SettlingNow),
    ("GET", "/v1/pools/{pool}/journal"): Operation(changes.JournalView, query={"limit": "newest entries to list"}),
    ("GET", "/v1/plans/{plan}"): Operation(plans.PlanView, others=(TEXT, SVG)),
    ("POST", "/v1/plans/{plan}/apply"): Operation(plans.AppliedView),
    ("POST", "/v1/trace"): Operation(changes.Trace, requests.TraceBody),
}
"""Every method of every path."""

_PUBLIC = ("/healthz", "/readyz", "/metrics")
_ABOUT = """How operators look at the balancer and change what it does. The Unix socket (admin.socket) gives full
control; the TCP address (admin.listen) asks for the token of admin.token_file, and only reads if there is none."""
_REFUSALS = {
    400: "The body, the query or a token in it is not what is asked for.",
    401: "The bearer token is missing or wrong (TCP with a token_file).",
    403: "This address only reads (TCP without a token_file).",
    404: "There is no such pool, backend, plan or pin.",
    409: "It cannot be done as things are; nothing was changed.",
    412: "If-Match was given, and the pool has changed since.",
    421: "Asked by another name than that of this machine (TCP without a token_file).",
    500: "The balancer made a mistake; its log has the details.",
}


def document(routes: Routes) -> dict[str, Any]:
    """The description of ``routes``."""
    inputs: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = []
    for operation in OPERATIONS.values():
        for kind in (operation.answer, operation.unavailable, operation.body):
            if kind is not None:
                mode: JsonSchemaMode = "validation" if kind is operation.body else "serialization"
                inputs.append((kind, mode, TypeAdapter(kind)))
    inputs.append((common.Error, "serialization", TypeAdapter(common.Error)))
    known, definitions = TypeAdapter.json_schemas(inputs, by_alias=True, ref_template="#/components/schemas/{model}")
    schemas = {kind: schema for (kind, _), schema in known.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "balancer", "version": installed("balancer"), "description": _ABOUT},
        "paths": {
            path: {
                method.lower(): _operation(method, path, handler.__doc__ or "", schemas)
                for method, handler in methods.items()
            }
            for path, methods in routes.items()
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(method: str, path: str, about: str, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    operation = OPERATIONS[method, path]
    found: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *re.findall(r"[a-z]+", path.removeprefix("/v1"))]),
        "summary": " ".join(about.split()),
        "parameters": list(_parameters(method, path, operation)),
        "responses": _responses(method, path, operation, schemas),
    }
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[operation.body]}}}
    return found


def _parameters(method: str, path: str, operation: Operation) -> list[dict[str, Any]]:
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    numbers = [
        {"name": name, "in": "query", "description": about, "schema": {"type": "integer", "minimum": 0}}
        for name, about in (operation.query or {}).items()
    ]
    numbers += [
        {"name": name, "in": "query", "description": about, "schema": {"type": "string"}}
        for name, about in (operation.words or {}).items()
    ]
    fields = {}
    if method != "GET" and "{pool}" in path:
        fields["If-Match"] = "do it only if the pool has this ETag, that is, if nobody has changed it since"
    if method != "GET":
        fields["Balancer-Author"] = "who asks, for the journal"
    if EVENTS in operation.others:
        fields["Last-Event-ID"] = "the last event that was seen; those behind it follow"
    return [
        *named,
        *numbers,
        *({"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
          for name, about in fields.items()),
    ]  # fmt: skip


def _responses(method: str, path: str, operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {"schema": {"type": "string"}} for kind in operation.others}
    if operation.answer is not None:
        content = {JSON: {"schema": schemas[operation.answer]}, **content}
    found: dict[str, Any] = {str(operation.status): {"description": "Done.", "content": content}}
    if operation.unavailable is not None:
        found["503"] = _json("Not now.", schemas[operation.unavailable])
    for number in _refusals(method, path, operation):
        found[str(number)] = _json(_REFUSALS[number], schemas[common.Error])
    return found


def _refusals(method: str, path: str, operation: Operation) -> list[int]:
    changes = method != "GET"
    statuses = [421, 500]
    statuses += [400] if operation.body is not None or operation.query or changes else []
    statuses += [401] if path not in _PUBLIC else []
    statuses += [403] if changes else []
    statuses += [404] if "{" in path else []
    statuses += [409] if changes or "{plan}" in path else []
    statuses += [412] if changes and "{" in path else []
    return sorted(statuses)


def _json(description: str, schema: Any) -> dict[str, Any]:  # noqa: ANN401  # a schema may be true or a table
    return {"description": description, "content": {JSON: {"schema": schema}}}
