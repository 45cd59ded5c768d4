"""The OpenAPI 3.1 document of the admin API, made from its routes and from the types of bodies and answers.

https://spec.openapis.org/oas/v3.1.0.html
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from balancer.admin import requests
from balancer.admin.responses import changes, common, plans, pools, reload, ring, sessions, status, upgrade
from balancer.admin.server import ApiResponse
from balancer.config.section import Section
from balancer.shared.version import VERSION

TEXT = "text/plain"
SVG = "image/svg+xml"
EVENTS = "text/event-stream"
JSON = "application/json"

Routes = Mapping[str, Mapping[str, Callable[..., Awaitable[ApiResponse]]]]
"""Handlers by path and method."""


@dataclass(frozen=True)
class Operation:
    """What one method of a path takes and answers."""

    answer: Any = None
    """Type of the JSON answer, if there is one."""
    body: type[Section] | None = None
    status: int = 200
    """Status of a successful answer."""
    others: tuple[str, ...] = ()
    """Content types other than JSON that ``Accept`` may ask for."""
    query: Mapping[str, str] | None = None
    """Integer query parameters and their meaning."""
    words: Mapping[str, str] | None = None
    """String query parameters and their meaning."""
    unavailable: Any = None
    """Type of the JSON answer with status 503, if it has one."""


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/healthz"): Operation(status.Alive),
    ("GET", "/readyz"): Operation(
        status.Readiness,
        unavailable=status.Readiness,
        words={"pool": "answer for this pool alone"},
    ),
    ("GET", "/metrics"): Operation(others=(TEXT, "application/openmetrics-text")),
    ("GET", "/v1/openapi.json"): Operation(dict[str, Any]),
    ("GET", "/v1/status"): Operation(status.Status),
    ("GET", "/v1/events"): Operation(
        others=(EVENTS,), query={"last": "start with this many older events"}, unavailable=common.Error
    ),
    ("GET", "/v1/reload"): Operation(reload.ReloadState),
    ("POST", "/v1/reload"): Operation(reload.Reloaded, requests.ReloadBody, others=(TEXT,)),
    ("GET", "/v1/upgrade"): Operation(upgrade.UpgradeView),
    ("POST", "/v1/upgrade"): Operation(upgrade.UpgradeView, requests.UpgradeBody),
    ("POST", "/v1/upgrade/finish"): Operation(upgrade.Finishing, requests.FinishBody),
    ("GET", "/v1/config"): Operation(reload.ConfigInForce, others=(TEXT,)),
    ("GET", "/v1/config/diff"): Operation(reload.ConfigDifference, others=(TEXT,)),
    ("GET", "/v1/certificates"): Operation(reload.Certificates),
    ("GET", "/v1/sessions"): Operation(
        sessions.Sessions,
        query={"limit": "most tunnels to list"},
        words={"pool": "only this pool", "backend": "only this backend", "user": "only this user, by digest"},
    ),
    ("DELETE", "/v1/sessions/{session}"): Operation(sessions.SessionEnded),
    ("PUT", "/v1/drain"): Operation(status.DrainView, requests.DrainBody),
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
        changes.Unpinned, query={"prefix": "length of the pinned prefix, for the pin of a prefix"}
    ),
    ("GET", "/v1/pools/{pool}/strays"): Operation(plans.Strays, query={"limit": "most strays to list"}),
    ("POST", "/v1/pools/{pool}/settle"): Operation(plans.SettlingNow, requests.SettleBody, status=202),
    ("DELETE", "/v1/pools/{pool}/settle"): Operation(plans.SettlingNow),
    ("GET", "/v1/pools/{pool}/journal"): Operation(
        changes.JournalView, query={"limit": "most entries to list; the newest"}
    ),
    ("GET", "/v1/plans/{plan}"): Operation(plans.PlanView, others=(TEXT, SVG)),
    ("POST", "/v1/plans/{plan}/apply"): Operation(plans.AppliedView),
    ("POST", "/v1/trace"): Operation(changes.Trace, requests.TraceBody),
}
"""Every method of every path."""

_PUBLIC = ("/healthz", "/readyz", "/metrics")
_ABOUT = """How operators inspect and control the balancer. The Unix socket (admin.socket) gives full
control; the TCP address (admin.listen) requires the token in admin.token_file, and is read-only without one."""
_REFUSALS = {
    400: "The body, the query or a token is invalid.",
    401: "The bearer token is missing or wrong (TCP with a token_file).",
    403: "This address is read-only (TCP without a token_file).",
    404: "There is no such pool, backend, plan or pin.",
    409: "Not possible in the present state; nothing was changed.",
    412: "The pool has changed since the version in If-Match.",
    421: "The Host is not a loopback name (TCP without a token_file), or this is the address for health checks.",
    500: "Internal error; the balancer's log has the details.",
}


def document(routes: Routes) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``."""
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
        "info": {"title": "balancer", "version": VERSION, "description": _ABOUT},
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
        fields["If-Match"] = "change the pool only if this is still its ETag"
    if method != "GET":
        fields["Balancer-Author"] = "who makes the change, for the journal"
    if EVENTS in operation.others:
        fields["Last-Event-ID"] = "the last event received; the stream continues after it"
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
    found: dict[str, Any] = {str(operation.status): {"description": "Success.", "content": content}}
    if operation.unavailable is not None:
        found["503"] = _json("Not available.", schemas[operation.unavailable])
    for number in _refusals(method, path, operation):
        found[str(number)] = _json(_REFUSALS[number], schemas[common.Error])
    return found


def _refusals(method: str, path: str, operation: Operation) -> list[int]:
    changes = method != "GET"
    statuses = [421, 500]
    statuses += [400] if operation.body is not None or operation.query or changes else []
    statuses += [401] if path not in _PUBLIC else []
    statuses += [403] if changes else []
    statuses += [404] if "{" in path or "pool" in (operation.words or {}) else []
    statuses += [409] if changes or "{plan}" in path else []
    statuses += [412] if changes and "{" in path else []
    return sorted(statuses)


def _json(description: str, schema: Any) -> dict[str, Any]:  # noqa: ANN401  # a schema may be true or a table
    return {"description": description, "content": {JSON: {"schema": schema}}}
