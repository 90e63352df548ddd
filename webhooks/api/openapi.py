"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from webhooks.api.feed import CloudEvent
from webhooks.api.operations import Operation
from webhooks.api.problems import KINDS, PROBLEM_JSON
from webhooks.api.schemas import SUMMARY_BY_TYPE, without_titles
from webhooks.api.shapes import Listing, Nothing, ProblemBody
from webhooks.api.table import MODULES, OPERATIONS

VERSION = "1.0.0"
_REFERENCE = "#/components/schemas/{model}"
#: What every operation can end in.
_ALWAYS = (
    "unauthorized",
    "forbidden",
    "invalid_request",
    "too_many_failures",
    "internal_error",
    "database_unavailable",
)
_WITH_BODY = ("invalid_json", "body_too_large", "unsupported_media_type")
_WITH_KEY = ("invalid_idempotency_key", "request_in_flight", "idempotency_key_reused")

DESCRIPTION = """\
Punctual keeps exactly one bot in every meeting that should have one.

**Keys.** Send `Authorization: Bearer KEY`. A key has scopes: `read` looks, `write` also changes, `admin` also
manages keys and sees the bodies of deliveries. Each operation names the one it needs.

**Lists** are `{"data": [...], "next": cursor-or-null}`. Pass `next` as `cursor`, with the same filters, for the
next page; an entry added meanwhile neither repeats nor hides another. `limit` is 50 unless given, at most 200.

**Repeating a POST.** With an `Idempotency-Key` the first answer is kept for 24 hours and given again, with
`Idempotency-Replayed: true`. Another request under the same key is refused. The other methods repeat safely.

**Errors** are RFC 9457 problems (`application/problem+json`). `code` never changes its meaning; `errors` lists
every field that does not fit. What is not described here is refused: unknown fields, unknown query parameters.
What is not clean HTTP, too slow, or too long in its URL (8 KiB) or head (16 KiB) never reaches an operation:
400, 408, 414 and 431 are problems without `detail` and `request_id`.

**Times** are RFC 3339 in UTC. **Domain events** are described in `/asyncapi.json`."""


def openapi_document(base_url: str) -> dict[str, Any]:
    """Return the whole document."""
    models: dict[type[BaseModel], None] = {ProblemBody: None, CloudEvent: None}
    for operation in OPERATIONS:
        for model in (operation.documented, operation.response):
            if model is not None:
                models[model] = None
    references, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE
    )
    reference_by_model = {model: reference for (model, _), reference in references.items()}
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method.lower()] = _operation(operation, reference_by_model)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Punctual", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": base_url}],
        "security": [{"key": []}],
        "tags": [
            {"name": module.TAG, "description": (module.__doc__ or "").strip()} for module in MODULES
        ],
        "paths": dict(paths),
        "webhooks": {"domainEvent": {"post": _domain_event(reference_by_model)}},
        "components": {
            "schemas": without_titles(schemas["$defs"]),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key: `pk_…`."}
            },
        },
    }


def _operation(operation: Operation, references: Mapping[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"{operation.description} Needs the scope `{operation.scope}`.".strip(),
        "security": [{"key": [str(operation.scope)]}],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": _responses(operation, references),
    }
    if operation.is_repeatable:
        described["parameters"].append(_IDEMPOTENCY_KEY)
    if operation.documented is not None:
        content = {"application/json": {"schema": references[operation.documented]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    schema = (
        without_titles(operation.query.model_json_schema()) if operation.query is not Nothing else {}
    )
    parameters = []
    for name, part in schema.get("properties", {}).items():
        choices = [choice for choice in part.get("anyOf", []) if choice != {"type": "null"}]
        merged = {key: value for key, value in part.items() if key not in {"anyOf", "description"}}
        if part.get("default", 0) is None:
            del merged["default"]
        parameter = {
            "name": name,
            "in": "query",
            "schema": {**merged, **(choices[0] if choices else {})},
        }
        if "description" in part:
            parameter["description"] = part["description"]
        parameters.append(parameter)
    return parameters


def _responses(operation: Operation, references: Mapping[Any, Any]) -> dict[str, Any]:
    successes = {operation.status: "Done.", **operation.also}
    responses: dict[str, Any] = {}
    for status, description in successes.items():
        responses[str(status)] = {"description": description}
        if operation.response is not None:
            content = {"application/json": {"schema": references[operation.response]}}
            responses[str(status)]["content"] = content
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys(problem_codes(operation)):
        by_status[KINDS[code].status].append(code)
    for status in sorted(by_status):
        responses[str(status)] = {
            "description": " ".join(f"`{code}`: {KINDS[code].title}." for code in by_status[status]),
            "content": {PROBLEM_JSON: {"schema": references[ProblemBody]}},
        }
    return responses


def problem_codes(operation: Operation) -> list[str]:
    """List the codes an operation can end in."""
    codes = [*_ALWAYS, *operation.problems]
    if operation.body is not None or operation.is_repeatable:
        codes += _WITH_BODY
    if operation.is_repeatable:
        codes += _WITH_KEY
    if issubclass(operation.query, Listing) or "after" in operation.query.model_fields:
        codes.append("invalid_cursor")
    if "{" in operation.path:
        codes.append("not_found")
    return codes


def _domain_event(references: Mapping[Any, Any]) -> dict[str, Any]:
    listed = "\n".join(f"- `{name}`: {summary}" for name, summary in SUMMARY_BY_TYPE.items())
    return {
        "operationId": "receive_domain_event",
        "summary": "What subscribers are posted",
        "description": "Signed by Standard Webhooks (`webhook-*` headers, and the same as `svix-*`); every"
        f" active secret signs. Answer 2xx within 15 s; 410 ends the subscription.\n\n{listed}",
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        ],
        "requestBody": {
            "required": True,
            "content": {"application/cloudevents+json": {"schema": references[CloudEvent]}},
        },
        "responses": {"2XX": {"description": "Received."}, "410": {"description": "Stop posting."}},
    }


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A new value for every new request; the answer is kept for 24 h.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
