"""What the API says about itself is valid, complete and readable without anybody's help."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from models.domain.emitted import Type
from tests.builders import a_calendar
from tests.webhooks.api.fakes import BASE_URL, Api, code_of
from webhooks.api.problems import KINDS
from webhooks.api.table import OPERATIONS

DOCUMENTS = ("/openapi.json", "/asyncapi.json", "/docs", "/schemas/bot.scheduled.json")


def references(part: Any) -> set[str]:
    """Find every `$ref` in a document."""
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def resolve(document: dict[str, Any], reference: str) -> Any:
    part: Any = document
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def test_the_openapi_document_is_valid_and_names_every_operation(api: Api) -> None:
    document = api.get("/openapi.json", key=None)

    OpenAPIV31SpecValidator(document).validate()
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(operation.method, operation.path) for operation in OPERATIONS}
    assert document["servers"] == [{"url": BASE_URL}]


def test_every_operation_of_the_contract_is_there() -> None:
    promised = """
        GET POST /v1/calendars
        GET PATCH DELETE /v1/calendars/{id}
        POST /v1/calendars/{id}/sync
        GET /v1/events
        GET PATCH /v1/events/{id}
        GET /v1/events/{id}/why
        GET PUT /v1/rules
        GET PUT DELETE /v1/calendars/{id}/rules
        POST /v1/rules/simulate
        GET /v1/bots
        GET /v1/bots/{id}
        GET POST /v1/endpoints
        GET PATCH DELETE /v1/endpoints/{id}
        POST /v1/endpoints/{id}/test
        POST /v1/endpoints/{id}/rotate-secret
        GET /v1/endpoints/{id}/attempts
        POST /v1/endpoints/{id}/replay
        GET /v1/feed
        GET /v1/deliveries
        GET /v1/deliveries/{id}
        POST /v1/deliveries/{id}/replay
        POST /v1/connect-links
        GET /v1/connections
        GET DELETE /v1/connections/{id}
        GET PUT /v1/connections/{id}/calendars
        GET POST /v1/oauth-clients
        DELETE /v1/oauth-clients/{id}
        GET POST /v1/api-keys
        DELETE /v1/api-keys/{id}
    """
    lines = [line.split() for line in promised.strip().splitlines()]

    assert {(method, line[-1]) for line in lines for method in line[:-1]} == {
        (operation.method, operation.path) for operation in OPERATIONS
    }


def test_every_operation_is_explained() -> None:
    for operation in OPERATIONS:
        assert operation.summary
        assert operation.description
        assert set(operation.problems) <= set(KINDS)


def test_the_asyncapi_document_holds_together_and_names_every_type_on_every_channel(api: Api) -> None:
    document = api.get("/asyncapi.json", key=None)

    assert document["asyncapi"] == "3.0.0"
    for reference in references(document):
        assert resolve(document, reference) is not None
    for channel in document["channels"].values():
        named = {resolve(document, message["$ref"])["name"] for message in channel["messages"].values()}
        assert named == {str(name) for name in Type}
    for operation in document["operations"].values():
        assert operation["action"] == "send"
        assert len(operation["messages"]) == len(Type)
    exchange = document["channels"]["exchange"]["bindings"]["amqp"]["exchange"]
    assert exchange == {
        "name": "punctual.events",
        "type": "topic",
        "durable": True,
        "autoDelete": False,
    }
    for message in document["components"]["messages"].values():
        Draft202012Validator.check_schema(message["payload"])


def test_every_domain_event_has_a_schema_that_its_data_fits(api: Api) -> None:
    api.call("PUT", "/v1/rules", {"select": ["all"]})
    calendar_id = a_calendar(api.rt.db)
    api.store_event()
    api.settle()
    api.call("PUT", "/v1/rules", {})
    api.settle()
    api.call("DELETE", f"/v1/calendars/{calendar_id}")

    for event in api.get("/v1/feed")["data"]:
        schema = api.get(event["dataschema"].removeprefix(BASE_URL), key=None)
        assert schema["$id"] == event["dataschema"]
        errors = list(Draft202012Validator(schema).iter_errors(event["data"]))
        assert errors == [], event["type"]


@pytest.mark.parametrize("event_type", [*Type, "punctual.test"])
def test_every_type_has_a_schema(api: Api, event_type: str) -> None:
    response = api.call("GET", f"/schemas/{event_type}.json", key=None)

    assert response.headers["content-type"] == "application/schema+json"
    Draft202012Validator.check_schema(response.json())
    assert 'additionalProperties":false' not in response.text


def test_an_unknown_schema_is_not_found(api: Api) -> None:
    assert code_of(api.call("GET", "/schemas/bot.lost.json", key=None)) == "not_found"


def test_the_page_loads_nothing_from_anywhere_and_runs_nothing(api: Api) -> None:
    response = api.call("GET", "/docs", key=None)

    page = response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|src=| style=| on\w+=", page)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    for operation in OPERATIONS:
        assert f'id="{operation.id}"' in page
    for code in KINDS:
        assert f'id="problem-{code}"' in page
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))


def test_the_style_of_the_page_is_the_one_its_policy_allows(api: Api) -> None:
    import base64
    import hashlib

    response = api.call("GET", "/docs", key=None)

    (style,) = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in response.headers["content-security-policy"]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_documents_are_for_everybody_and_hold_no_secret(api: Api, path: str) -> None:
    response = api.call("GET", path, key=None)

    assert response.status_code == 200
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in response.headers
    assert api.key not in response.text
    assert "postgresql" not in response.text.lower()


def test_https_is_insisted_on_where_it_is_used(api: Api) -> None:
    plain = api.call("GET", "/v1/bots")
    api.restart(settings=api.rt.settings.model_copy(update={"public_url": "https://punctual.example"}))
    secure = api.call("GET", "/v1/bots")

    assert "strict-transport-security" not in plain.headers
    assert "max-age" in secure.headers["strict-transport-security"]


def test_every_problem_says_which_request_it_belongs_to(api: Api) -> None:
    response = api.call("GET", "/v1/nothing")

    problem = response.json()
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["type"] == f"{BASE_URL}/docs#problem-not_found"
    assert json.dumps(problem)
