"""Whatever is sent to whichever operation, the answer is one the document promises, and never ours to blame."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import a_calendar
from tests.webhooks.api.fakes import Api
from tests.webhooks.api.test_deliveries import a_delivery
from webhooks.api.openapi import openapi_document
from webhooks.api.operations import Operation
from webhooks.api.problems import KINDS
from webhooks.api.table import OPERATIONS

SCHEMAS = openapi_document("http://punctual.test")["components"]["schemas"]
NAMES = sorted({name for schema in SCHEMAS.values() for name in schema.get("properties", {})})
VALUES = [
    "recall", "google_calendar", "all", "meeting", "first", "bot.*", "read", "active", "series", "cal-anna",
    "anna@example.com", "https://hooks.example.com", "2026-11-23T12:00:00Z", str(uuid4()), "", "\ud83d\ude00",
    "\x00", "%s", "' OR 1=1", 0, -1, 2**63, 1e308,
]  # fmt: skip
TEXT = st.text(max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(VALUES)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=12,
)
KNOWN = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)


def fitting(model: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Objects with the right names, and now and then the right values."""
    properties = model.get("properties", {})
    required = [name for name in model.get("required", ()) if name in properties]
    return st.fixed_dictionaries(
        dict.fromkeys(required, JSON),
        optional={name: JSON for name in properties if name not in required},
    )


def bodies(name: str) -> st.SearchStrategy[Any]:
    return JSON | KNOWN | fitting(SCHEMAS.get(name, {}))


@pytest.fixture
def furnished(api: Api) -> Api:
    """An API with one thing of every kind, some of which will not last."""
    a_calendar(api.rt.db)
    a_calendar(api.rt.db, "cal-ben", rules={"select": ["all"]})
    api.store_event(series_id="s")
    api.store_event("event-2", calendar="cal-ben")
    api.settle()
    a_delivery(api)
    api.call("POST", "/v1/endpoints", {"url": "https://hooks.example.com"})
    return api


@given(data=st.data())
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_request_is_our_fault(furnished: Api, data: st.DataObject) -> None:
    api = furnished
    operation = data.draw(st.sampled_from(OPERATIONS))
    which = data.draw(st.none() | st.integers(0, 5))
    names = st.sampled_from([*operation.query.model_fields, *NAMES]) | TEXT
    values = TEXT | st.sampled_from([str(value) for value in VALUES])
    params = data.draw(st.dictionaries(names, values, max_size=3))
    name = operation.documented.__name__ if operation.documented else ""
    body = data.draw(bodies(name) if operation.body else st.just(None) | JSON)
    repeat = data.draw(st.none() | st.text("abc", max_size=2))
    path = operation.path.replace("{id}", an_id(api, operation, which))
    content = None if body is None and not operation.body else json.dumps(body).encode()

    response = api.call(
        operation.method,
        path,
        content=content,
        params={key: value for key, value in params.items() if _is_sendable(key + value)} or None,
        repeat=repeat,
    )

    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.json()["code"] in KINDS


def an_id(api: Api, operation: Operation, which: int | None) -> str:
    """Name something that is there, or something that is not."""
    if which is None or "{id}" not in operation.path:
        return str(uuid4())
    ids = [one["id"] for one in api.get(operation.path.split("/{id}")[0])["data"]]
    return str(ids[which % len(ids)]) if ids else str(uuid4())


def _is_sendable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
