"""
Answers and webhooks against what Recall published: its OpenAPI and its webhook catalogue.

Both are reference data beside the project, not in it; without them these tests are skipped.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft7Validator, FormatChecker

from tests.sandbox.driving import MEET, NOW, ZOOM, Sandbox, iso

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "recall"

pytestmark = pytest.mark.skipif(
    not PUBLISHED.is_dir(),
    reason=f"Recall's published schemas are not at {PUBLISHED}: nothing to compare with",
)

TEAMS = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0?context=%7B%22Tid%22%3A%22t%22%2C%22Oid%22%3A%22o%22%7D"
# Required by the collector of the OpenAPI, who took one sample for the rule; docs say they may be missing.
NOT_ALWAYS_THERE = {"recurringEventId", "originalStartTime", "attendees", "seriesMasterId"}


def as_json_schema(node: Any) -> Any:
    """Translate OpenAPI 3.0 for answers: honour `nullable`, leave out what is only written."""
    if isinstance(node, list):
        return [
            as_json_schema(each)
            for each in node
            if not (isinstance(each, dict) and each.get("writeOnly"))
        ]
    if not isinstance(node, dict):
        return node
    kept = {
        key: as_json_schema(value) for key, value in node.items() if key not in ("nullable", "example")
    }
    return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") else kept


def loosened(node: Any) -> Any:
    """Take the collector's hand-made strictness out of `raw`: other keys may be there, some may be missing."""
    if isinstance(node, list):
        return [loosened(each) for each in node]
    if not isinstance(node, dict):
        return node
    loose = {key: loosened(value) for key, value in node.items() if key != "additionalProperties"}
    if isinstance(loose.get("required"), list):
        loose["required"] = [name for name in loose["required"] if name not in NOT_ALWAYS_THERE]
    properties = loose.get("properties")
    if isinstance(properties, dict) and "seriesMasterId" in properties:
        properties["seriesMasterId"] = {"type": ["string", "null"]}
    return loose


@cache
def openapi() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((PUBLISHED / "openapi.json").read_text())
    schemas = document["components"]["schemas"]
    for name in ("CalendarEventRawGoogleCalendar", "CalendarEventRawMicrosoftOutlook"):
        schemas[name] = loosened(schemas[name])
    return document


@cache
def components() -> Any:
    return as_json_schema(openapi()["components"])


@cache
def catalogue() -> dict[str, Any]:
    entries = json.loads((PUBLISHED / "webhooks.json").read_text())["data"]
    return {entry["name"]: entry["schemas"]["1"] for entry in entries if entry["schemas"]}


FORMATS = FormatChecker(["uuid", "email", "date"])


@FORMATS.checks("date-time", ValueError)
def _is_instant(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("uri")
def _is_address(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme and urlsplit(value).netloc)


def faults_of(instance: Any, schema: Any) -> list[str]:
    validator = Draft7Validator(schema, format_checker=FORMATS)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]


class Checked:
    """Call the emulator and hold every answer against the schema of its operation."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.seen: set[str] = set()

    def call(self, method: str, template: str, *, path: str = "", **more: Any) -> Any:
        operation = openapi()["paths"][template][method.lower()]
        answer = self.sandbox.call(method, path or template, **more)
        assert str(answer.status_code) in operation["responses"], f"{method} {template}: {answer.text}"
        self.seen.add(f"{method} {template} {answer.status_code}")
        content = operation["responses"][str(answer.status_code)].get("content")
        if content is None:
            assert answer.content == b""
            return None
        schema = as_json_schema(content["application/json"]["schema"]) | {"components": components()}
        assert faults_of(answer.json(), schema) == []
        return answer.json()


# The published types say "string" where other pages show null; these switches choose the published form.
AS_PUBLISHED = {"null_sub_codes": False, "unset_calendar_fields_null": False}


@pytest.mark.parametrize("platform", ["google_calendar", "microsoft_outlook"])
def test_every_endpoint_answers_as_published(sandbox: Sandbox, platform: str) -> None:
    sandbox.patch("/_emulator/switches", AS_PUBLISHED)
    checked = Checked(sandbox)
    calendars, events, bots = "/api/v2/calendars/", "/api/v2/calendar-events/", "/api/v1/bot/"
    fields = {
        "oauth_client_id": "i",
        "oauth_client_secret": "s",
        "oauth_refresh_token": "rt:a@example.com",
    }

    calendar = checked.call("POST", calendars, json=fields | {"platform": platform})["id"]
    sandbox.pass_(seconds=1)
    wishes: list[dict[str, Any]] = [
        {"link": MEET, "attendees": ["b@example.com"], "series_id": "s"},
        {"link": TEAMS, "organizer": "b@example.com", "own_response": "accepted", "private": True},
        {"link": ZOOM, "link_in": "description", "location": "Room 1"},
        {"link": None, "title": "No link"},
        {"link": "https://acme.webex.com/meet/bo", "link_in": "location"},
        {"link": "https://meet.goto.com/123456789"},
    ]
    made = [sandbox.an_event(calendar, **wish) for wish in wishes]
    sandbox.patch("/_emulator/limits", {"page_size": 2, "bots_page_size": 2})

    one = f"{events}{made[0]['id']}/"
    checked.call("GET", calendars)
    checked.call("GET", calendars + "{id}/", path=f"{calendars}{calendar}/")
    checked.call(
        "PATCH",
        calendars + "{id}/",
        path=f"{calendars}{calendar}/",
        json={"oauth_email": "a@example.com"},
    )
    checked.call("POST", calendars + "{id}/access-token/", path=f"{calendars}{calendar}/access-token/")
    for event in made:
        checked.call("GET", events + "{id}/", path=f"{events}{event['id']}/")
    for event in (each for each in made if each["meeting_url"]):
        config = {
            "bot_name": "N",
            "metadata": {"a": "b"},
            "automatic_leave": {"waiting_room_timeout": 60},
        }
        body = {"deduplication_key": event["id"], "bot_config": config}
        checked.call("POST", events + "{id}/bot/", path=f"{events}{event['id']}/bot/", json=body)
    checked.call("GET", events)
    checked.call("DELETE", events + "{id}/bot/", path=f"{one}bot/")
    own = checked.call(
        "POST", bots, json={"meeting_url": ZOOM, "join_at": iso(NOW + timedelta(hours=1))}
    )["id"]
    checked.call("PATCH", bots + "{id}/", path=f"{bots}{own}/", json={"bot_name": "M"})
    checked.call("DELETE", bots + "{id}/", path=f"{bots}{own}/")
    now = checked.call("POST", bots, json={"meeting_url": TEAMS})["id"]
    sandbox.pass_(seconds=10)
    checked.call("GET", bots + "{id}/", path=f"{bots}{now}/")
    checked.call("POST", bots + "{id}/leave_call/", path=f"{bots}{now}/leave_call/")
    sandbox.pass_(seconds=10)
    checked.call("GET", bots)
    checked.call("POST", bots + "{id}/delete_media/", path=f"{bots}{now}/delete_media/")
    sandbox.patch("/_emulator/limits", {"pool_size": 0})
    checked.call("POST", bots, json={"meeting_url": ZOOM})
    sandbox.post(f"/_emulator/calendars/{calendar}/disconnect")
    checked.call("POST", calendars + "{id}/access-token/", path=f"{calendars}{calendar}/access-token/")
    checked.call("GET", calendars + "{id}/", path=f"{calendars}{calendar}/")
    checked.call("DELETE", calendars + "{id}/", path=f"{calendars}{calendar}/")

    published = {
        f"{method.upper()} {path} {status}"
        for path, methods in openapi()["paths"].items()
        if path.startswith((calendars, events))
        or path in (bots, bots + "{id}/", bots + "{id}/leave_call/", bots + "{id}/delete_media/")
        for method, operation in methods.items()
        if method in ("get", "post", "patch", "delete")
        for status in operation["responses"]
    }
    assert checked.seen >= published


def test_every_webhook_is_as_in_the_catalogue(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"recording_webhooks": True})
    sandbox.patch("/_emulator/limits", {"waiting_room_s": 5})
    sandbox.schedule(sandbox.an_event()["id"], config={"metadata": {"a": "b"}})
    sandbox.pass_(hours=5)
    lost = sandbox.post("/_emulator/bots", {"meeting_url": ZOOM})["id"]
    for code in ("recording_permission_allowed", "recording_permission_denied", "fatal"):
        sandbox.post(f"/_emulator/bots/{lost}/state", {"code": code})
    sandbox.patch("/_emulator/switches", {"legacy_bot_webhooks": True})
    sandbox.post("/api/v1/bot/", {"meeting_url": ZOOM})

    sent = sandbox.sent()

    assert {body["event"] for body in sent} == {
        name for name in catalogue() if name.startswith(("bot.", "calendar."))
    } - {"bot.log", "bot.output_log"} | {"recording.processing", "recording.done"}
    for body in sent:
        assert faults_of(body, catalogue()[body["event"]]) == [], body["event"]


def test_every_published_filter_is_known(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"unknown_query_refused": True})
    values = {"boolean": "true", "integer": "1", "array": None, "string": None}
    for path in ("/api/v2/calendars/", "/api/v2/calendar-events/", "/api/v1/bot/"):
        for parameter in openapi()["paths"][path]["get"]["parameters"]:
            schema = parameter["schema"]
            choices = schema.get("enum") or schema.get("items", {}).get("enum")
            by_format = {"date-time": iso(NOW), "uuid": "00000000-0000-4000-8000-000000000000"}
            value = (
                choices[0]
                if choices
                else values[schema["type"]] or by_format.get(schema.get("format", ""), "x")
            )
            if parameter["name"] == "cursor":
                continue

            answer = sandbox.call("GET", path, params={parameter["name"]: value})

            assert answer.status_code == 200, (parameter["name"], answer.text)


def test_every_published_limit_is_ours() -> None:
    from worker.sandbox.recall.gate import SURFACE
    from worker.sandbox.recall.limits import PER_MINUTE

    for path, methods in SURFACE.items():
        for method, (name, _) in methods.items():
            published = openapi()["paths"][path][method.lower()]["x-throttles"]
            assert [each["limit"] for each in published] == [PER_MINUTE[name]], name
