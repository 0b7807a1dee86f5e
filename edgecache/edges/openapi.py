"""The OpenAPI 3.1 description of the admin listener, made from the types that its answers are made of.

Called by ``edges.admin``, once per listener.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from edgecache.edges.deploy_messages import (
    ActivateOrder,
    BeginOrder,
    Deploy,
    DeployReport,
    ReleaseReply,
    RollbackOrder,
)
from edgecache.edges.purge_messages import MAX_CONTENT, Erasure, Problem, PurgeOrder, PurgeReply, PurgeReport
from edgecache.edges.scan_messages import ScanOrder, ScanReport
from edgecache.edges.siblings import ALONE
from edgecache.semantics.explanation import Explanation

__all__ = ["describe"]

_REFERENCE: Final = "#/components/schemas/{name}"
_TEXT: Final[dict[str, Any]] = {"text/plain": {"schema": {"type": "string"}}}
_MISDIRECTED: Final = {"421": {"description": "This host name is not served here.", "content": _TEXT}}

_RETRY_AFTER: Final = {"Retry-After": {"schema": {"type": "integer"}}}

_PROBLEMS: Final = {
    "400": "It cannot be read; `detail` says where, what is wrong, and what to write.",
    "401": "No token, or none that is known here.",
    "403": "The token's scope does not contain it.",
    "404": "There is none, or its process has ended.",
    "409": "Not as things stand; `detail` says what would have to be different. Nothing was changed.",
    "413": f"More than {MAX_CONTENT} bytes.",
    "415": "The content is not JSON.",
    "422": "The Idempotency-Key was used for other selectors.",
    "429": "The token has used up its rate, or too many erasures wait. Nothing was purged.",
}
_OF_PURGES: Final = ("400", "401", "403", "413", "415", "422", "429")

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "However often a purge is sent with the same key and selectors, it happens once.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
}
_PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N`: answer after at most N seconds (RFC 7240), with 202 if not all have confirmed by then.",
    "schema": {"type": "string", "examples": ["wait=10"]},
}

_ALONE: Final = {
    "name": ALONE,
    "in": "header",
    "description": "With any value: speak of the process that answers alone, and do not ask its siblings.",
    "schema": {"type": "string", "examples": ["1"]},
}

_ERASURE: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The id of the purge that erases.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
}


_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name of a release.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "examples": ["v42"]},
}
_MISSING: Final = "Some process did not say whether it has it; ask again."
_EXPLAINED: Final = (
    {
        "name": "url",
        "in": "query",
        "required": True,
        "description": "The URL of the request, absolute. All parameters together have at most 8000 characters.",
        "schema": {"type": "string", "examples": ["http://shop.example/app.css?v=3"]},
    },
    {
        "name": "method",
        "in": "query",
        "description": "Its method, GET unless it is said.",
        "schema": {"type": "string", "pattern": "^[A-Z]+$"},
    },
    {
        "name": "header",
        "in": "query",
        "description": "A field of the request, `Name: value`; as many as there are.",
        "schema": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[A-Za-z0-9-]+: ?[!-~]*$", "examples": ["Accept-Language: de"]},
        },
    },
)


def describe(version: str) -> bytes:
    """Return the document as JSON. ``version`` is that of the program."""
    said = (
        *(PurgeOrder, PurgeReply, PurgeReport, Erasure, Problem, *_OF_DEPLOYS),
        *(Explanation, ScanOrder, ScanReport),
    )
    _, schemas = msgspec.json.schema_components(said, ref_template=_REFERENCE)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "edgecache admin listener",
            "version": version,
            "summary": "Purging, deploying, explaining, and looking at a running edge.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/purge": {"post": _purge()},
            "/v1/purges": {"get": _purges()},
            "/v1/erasures/{id}": {"get": _erasure()},
            "/v1/deploys": {"get": _deploys()},
            "/v1/deploys/{name}": {"post": _begin(), "get": _deploy()},
            "/v1/deploys/{name}/activate": {"post": _release("activate", "Make it the active release.", ActivateOrder)},
            "/v1/deploys/{name}/hold": {"post": _release("hold", "Hold the active release until this one is active.")},
            "/v1/deploys/{name}/rollback": {"post": _release("rollback", "Leave it for another.", RollbackOrder)},
            "/v1/explain": {"get": _explain()},
            "/v1/scan": {"post": _scan()},
            "/v1/stats": {"get": _asked("statistics", "The counters, as JSON.", {"application/json": _object()})},
            "/metrics": {"get": _asked("metrics", "The same in Prometheus' formats.", _TEXT)},
            "/livez": {"get": _asked("alive", "Whether the process turns.", _TEXT)},
            "/readyz": {"get": _readyz()},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return msgspec.json.encode(document)


def _purge() -> dict[str, Any]:
    receipt = _content("PurgeReply")
    return {
        "operationId": "purge",
        "summary": "Purge what the selectors match.",
        "security": [{"token": []}],
        "parameters": [_IDEMPOTENCY_KEY, _PREFER, _ALONE],
        "requestBody": {"required": True, "content": _content("PurgeOrder")},
        "responses": {
            "200": {"description": "Every process has confirmed; or a dry run.", "content": receipt},
            "202": {"description": "In the log, but not every process has confirmed.", "content": receipt},
            "409": {"description": "Confirmed, but fewer than `min_matched` matched.", "content": receipt},
            "503": {
                "description": "Not known to be in the log; asking again with the same key is safe.",
                "content": receipt,
                "headers": _RETRY_AFTER,
            },
            **_problems(*_OF_PURGES),
            **_MISDIRECTED,
        },
    }


def _purges() -> dict[str, Any]:
    return {
        "operationId": "purges",
        "summary": "The latest purges, the newest first: all with a token for everything, otherwise the token's own.",
        "security": [{"token": []}],
        "parameters": [_ALONE],
        "responses": {
            "200": {"description": "What was purged.", "content": _content("PurgeReport")},
            "401": _problem("401"),
            **_MISDIRECTED,
        },
    }


def _erasure() -> dict[str, Any]:
    return {
        "operationId": "erasure",
        "summary": "How far the erasing of a purge has come: of one's own, or any with a token for everything.",
        "security": [{"token": []}],
        "parameters": [_ERASURE, _ALONE],
        "responses": {
            "200": {"description": "How it stands.", "content": _content("Erasure")},
            **_problems("401", "404"),
            "503": {**_problem("401"), "description": _MISSING, "headers": _RETRY_AFTER},
            **_MISDIRECTED,
        },
    }


_OF_DEPLOYS: Final = (BeginOrder, ActivateOrder, RollbackOrder, Deploy, DeployReport, ReleaseReply)


def _begin() -> dict[str, Any]:
    return {
        "operationId": "begin",
        "summary": "Warm the assets and pages of a release, in the background.",
        "security": [{"token": []}],
        "parameters": [_NAME],
        "requestBody": {"required": True, "content": _content("BeginOrder")},
        "responses": {
            "202": {"description": "Begun, or begun before with the same order.", "content": _content("Deploy")},
            **_problems("400", "401", "403", "409", "413", "415"),
            **_MISDIRECTED,
        },
    }


def _deploy() -> dict[str, Any]:
    return {
        "operationId": "deploy",
        "summary": "How far warming has come.",
        "security": [{"token": []}],
        "parameters": [_NAME, _ALONE],
        "responses": {
            "200": {"description": "How it stands.", "content": _content("Deploy")},
            **_problems("400", "401", "403", "404"),
            "503": {**_problem("401"), "description": _MISSING, "headers": _RETRY_AFTER},
            **_MISDIRECTED,
        },
    }


def _deploys() -> dict[str, Any]:
    return {
        "operationId": "deploys",
        "summary": "The active release, and what was warmed behind this listener, the latest first.",
        "security": [{"token": []}],
        "parameters": [_ALONE],
        "responses": {
            "200": {"description": "How it stands.", "content": _content("DeployReport")},
            **_problems("401", "403"),
            **_MISDIRECTED,
        },
    }


def _release(name: str, summary: str, order: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    receipt = _content("ReleaseReply")
    content = {"content": _content(order.__name__)} if order is not None else {}
    return {
        "operationId": name,
        "summary": summary,
        "security": [{"token": []}],
        "parameters": [_NAME, _PREFER],
        **({"requestBody": content} if content else {}),
        "responses": {
            "200": {"description": "Every process has confirmed.", "content": receipt},
            "202": {"description": "In the log, but not every process has confirmed.", "content": receipt},
            "503": {
                "description": "Not known to be in the log; asking again is safe.",
                "content": receipt,
                "headers": _RETRY_AFTER,
            },
            **_problems("400", "401", "403", "409", *(("413", "415") if content else ())),
            **_MISDIRECTED,
        },
    }


def _explain() -> dict[str, Any]:
    return {
        "operationId": "explain",
        "summary": "What a request would meet in the process that answers, and why. The origin is not asked.",
        "security": [{"token": []}],
        "parameters": list(_EXPLAINED),
        "responses": {
            "200": {"description": "The explanation.", "content": _content("Explanation")},
            "400": {**_problem("400"), "description": "It is no request; `detail` says why."},
            "401": _problem("401"),
            "403": {**_problem("403"), "description": "The token's scope does not contain the host."},
            **_MISDIRECTED,
        },
    }


def _scan() -> dict[str, Any]:
    report = _content("ScanReport")
    return {
        "operationId": "scan",
        "summary": "Look for what is stored and should not be, and purge it if that is wanted.",
        "security": [{"token": []}],
        "parameters": [_PREFER, _ALONE],
        "requestBody": {"required": True, "content": _content("ScanOrder")},
        "responses": {
            "200": {"description": "What was found; a purge, if any, is confirmed everywhere.", "content": report},
            "202": {"description": "Purged, but not every process has confirmed.", "content": report},
            "503": {"description": "The purge is not known to be in the log; scan again.", "content": report},
            **{status: _problem(status) for status in _PROBLEMS if status != "422"},
            **_MISDIRECTED,
        },
    }


def _readyz() -> dict[str, Any]:
    summary = "Whether requests may be sent here; degraded when something is amiss that they can do without."
    operation = _asked("ready", summary, _TEXT)
    operation["responses"]["503"] = {"description": "Starting or draining.", "content": _TEXT}
    operation["parameters"] = [
        {"name": "verbose", "in": "query", "description": "Lists the checks.", "schema": {"type": "string"}}
    ]
    return operation


def _asked(name: str, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}, **_MISDIRECTED},
    }


def _problems(*statuses: str) -> dict[str, Any]:
    return {status: _problem(status) for status in statuses}


def _problem(status: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name="Problem")}
    return {"description": _PROBLEMS[status], "content": {"application/problem+json": {"schema": schema}}}


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(name=name)}}}


def _object() -> dict[str, Any]:
    return {"schema": {"type": "object"}}
