"""Holds every answer against the OpenAPI document that the API itself publishes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

from webhooks.api.openapi import openapi_document
from webhooks.api.problems import KINDS

#: Answers that belong to no operation: unknown paths and methods.
OUTSIDE = {404, 405}


@cache
def document() -> dict[str, Any]:
    return openapi_document("http://punctual.test")


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    # Fixed segments first, so that /v1/rules/simulate is not taken for an id.
    templates = sorted(document()["paths"], key=lambda path: (path.count("{"), path))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in templates]


@cache
def _validator(reference: str) -> Draft202012Validator:
    schema = {"$ref": reference, "components": document()["components"]}
    return Draft202012Validator(schema, format_checker=FormatChecker())


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """Find the operation a request is meant for."""
    for pattern, template in _paths():
        if pattern.fullmatch(path):
            found: dict[str, Any] | None = document()["paths"][template].get(method.lower())
            return found
    return None


def check(method: str, response: httpx.Response) -> None:
    """Fail unless the answer is one that the document promises."""
    path = response.request.url.path
    if not path.startswith("/v1"):
        return
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers
    if method == "HEAD":
        return
    operation = operation_of(method, path)
    if operation is None:
        assert response.status_code in OUTSIDE, response.text
        return
    status = str(response.status_code)
    assert status in operation["responses"], f"{method} {path} answered {status}: {response.text}"
    promised = operation["responses"][status].get("content")
    if promised is None:
        assert response.content == b""
        return
    media_type = response.headers["content-type"]
    assert media_type in promised
    errors = list(_validator(promised[media_type]["schema"]["$ref"]).iter_errors(response.json()))
    assert errors == [], f"{method} {path}: {errors[:3]}"
    if response.status_code >= 400:
        code = response.json()["code"]
        assert KINDS[code].status == response.status_code
        assert f"`{code}`" in operation["responses"][status]["description"], f"{method} {path}: {code}"
