"""Every answer against what Google published: the discovery document inside its Python client, strictly."""

from __future__ import annotations

import json
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tests.sandbox.google.driving import (
    ANNA,
    BEN,
    CARLA,
    MEET,
    Google,
    a_series,
    an_event,
    guests,
)
from worker.sandbox.google.surface import METHODS

FORMATS = FormatChecker([])


@FORMATS.checks("date-time", ValueError)
def _is_instant(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("date", ValueError)
def _is_day(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@FORMATS.checks("int64", ValueError)
def _is_number_in_text(value: object) -> bool:
    return not isinstance(value, str) or str(int(value)) == value


@cache
def discovery() -> dict[str, Any]:
    documents = files("googleapiclient.discovery_cache.documents")
    document: dict[str, Any] = json.loads(documents.joinpath("calendar.v3.json").read_text())
    return document


def as_json_schema(node: dict[str, Any]) -> dict[str, Any]:
    """Translate a discovery schema; objects have no other properties than those named."""
    if "$ref" in node:
        return {"$ref": f"#/$defs/{node['$ref']}"}
    kind = node.get("type")
    if kind == "any":
        return {}
    schema: dict[str, Any] = {"type": kind}
    if "format" in node:
        schema["format"] = node["format"]
    if kind == "array":
        schema["items"] = as_json_schema(node["items"])
    if kind == "object":
        properties = node.get("properties", {})
        schema["properties"] = {name: as_json_schema(part) for name, part in properties.items()}
        more = node.get("additionalProperties")
        schema["additionalProperties"] = as_json_schema(more) if more else False
    return schema


@cache
def definitions() -> dict[str, Any]:
    return {name: as_json_schema(node) for name, node in discovery()["schemas"].items()}


def faults_of(instance: Any, name: str) -> list[str]:
    schema = {"$ref": f"#/$defs/{name}", "$defs": definitions()}
    validator = Draft202012Validator(schema, format_checker=FORMATS)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]


class Checked:
    """Call methods of the API by name and hold every answer against its schema."""

    def __init__(self, google: Google) -> None:
        self.google = google
        self.seen: set[str] = set()

    def call(
        self, name: str, *, by: str = ANNA, query: Any = None, body: Any = None, **path: str
    ) -> Any:
        resource, verb = name.split(".")
        method = discovery()["resources"][resource]["methods"][verb]
        below = method["path"]
        for parameter, value in path.items():
            below = below.replace("{" + parameter + "}", quote(value, safe=""))
        answer = self.google.call(method["httpMethod"], below, by=by, params=query or {}, json=body)
        assert answer.status_code in (200, 204), f"{name}: {answer.text}"
        self.seen.add(name)
        if "response" not in method:
            assert answer.content == b""
            return None
        assert faults_of(answer.json(), method["response"]["$ref"]) == []
        return answer.json()

    def insert(self, **body: Any) -> Any:
        query = {"conferenceDataVersion": 1, "supportsAttachments": True}
        return self.call("events.insert", calendarId="primary", body=an_event(**body), query=query)


@pytest.fixture
def checked() -> Checked:
    google = Google()
    google.world.mailbox(google.world.oauth.add_account(CARLA))
    return Checked(google)


def test_the_checker_finds_what_is_wrong() -> None:
    assert faults_of({"id": 7}, "Event") != []
    assert faults_of({"made_up": "x"}, "Event") != []
    assert faults_of({"updated": "yesterday"}, "Event") != []
    assert faults_of({"items": [{"start": {"dateTime": "2026-11-23T11:00:00"}}]}, "Events") != []


def test_events_with_all_their_trimmings_fit(checked: Checked) -> None:
    request = {"createRequest": {"requestId": "r", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}
    checked.insert(
        attendees=[
            {"email": ANNA, "responseStatus": "accepted"},
            {
                "email": BEN,
                "optional": True,
                "comment": "late",
                "additionalGuests": 1,
                "displayName": "B",
            },
            {"email": "room@example.com", "resource": True},
        ],
        conferenceData=request,
        location="Room 1",
        description="<b>Bring</b> notes",
        colorId="3",
        visibility="private",
        transparency="transparent",
        guestsCanModify=True,
        guestsCanInviteOthers=False,
        guestsCanSeeOtherGuests=False,
        source={"title": "t", "url": "https://x.example/"},
        attachments=[{"fileUrl": "https://drive.example/1", "title": "Notes"}],
        extendedProperties={"private": {"a": "1"}, "shared": {"b": "2"}},
        reminders={"useDefault": False, "overrides": [{"method": "email", "minutes": 30}]},
    )
    checked.insert(start={"date": "2026-11-23"}, end={"date": "2026-11-24"})
    checked.insert(eventType="outOfOffice", outOfOfficeProperties={"autoDeclineMode": "declineNone"})
    checked.insert(eventType="focusTime", focusTimeProperties={"chatStatus": "doNotDisturb"})
    checked.insert(
        eventType="workingLocation",
        visibility="public",
        transparency="transparent",
        workingLocationProperties={"type": "officeLocation", "officeLocation": {"label": "HQ"}},
    )

    for by in (ANNA, BEN):
        for query in ({}, {"maxAttendees": 1}, {"timeZone": "Asia/Kolkata"}, {"singleEvents": "true"}):
            checked.call("events.list", by=by, calendarId="primary", query=query)


def test_lists_of_changes_fit(checked: Checked) -> None:
    event, series = checked.insert(attendees=guests(BEN)), checked.insert(**a_series())
    tokens = {
        single: checked.call("events.list", calendarId="primary", query={"singleEvents": single})
        for single in ("true", "false")
    }
    occurrence = f"{series['id']}_20261124T080000Z"
    checked.call("events.patch", calendarId="primary", eventId=occurrence, body={"summary": "Other"})
    checked.call("events.delete", calendarId="primary", eventId=f"{series['id']}_20261125T080000Z")
    checked.call("events.update", calendarId="primary", eventId=event["id"], body=an_event())
    checked.call("events.delete", calendarId="primary", eventId=event["id"])
    checked.call("events.get", calendarId="primary", eventId=event["id"])
    checked.call(
        "events.instances", calendarId="primary", eventId=series["id"], query={"showDeleted": True}
    )
    for single, page in tokens.items():
        for deleted in ({}, {"showDeleted": "true"}):
            query = {"singleEvents": single, "syncToken": page["nextSyncToken"], **deleted}
            assert checked.call("events.list", calendarId="primary", query=query)["items"]


def test_everything_else_fits_too(checked: Checked) -> None:
    team = checked.call("calendars.insert", body={"summary": "Team", "description": "All of us"})
    checked.google.control(
        "PUT", f"/calendars/{BEN}/entries/{ANNA}", {"role": "reader", "hidden": True}
    )
    event = checked.insert()
    channel = {"id": "c-1", "type": "web_hook", "address": "http://127.0.0.1:1/", "token": "t"}

    checked.call("calendars.get", calendarId=team["id"])
    checked.call("calendarList.get", calendarId="primary")
    page = checked.call("calendarList.list", query={"showHidden": True})
    checked.google.control("PUT", f"/calendars/{BEN}/entries/{ANNA}", {"role": "none"})
    checked.call("calendarList.list", query={"syncToken": page["nextSyncToken"]})
    checked.call("settings.list")
    checked.call("settings.get", setting="timezone")
    checked.call(
        "events.move", calendarId="primary", eventId=event["id"], query={"destination": team["id"]}
    )
    checked.call(
        "events.import", calendarId="primary", body=an_event(iCalUID="x@y", organizer={"email": CARLA})
    )
    checked.call("calendarList.watch", body=channel | {"id": "c-2"})
    checked.call("settings.watch", body=channel | {"id": "c-3"})
    opened = checked.call("events.watch", calendarId="primary", body=channel)
    checked.call("channels.stop", body={"id": "c-1", "resourceId": opened["resourceId"]})
    checked.google.control("PUT", "/groups/g@example.com", {"members": [BEN]})
    items = [{"id": each} for each in (ANNA, CARLA, "g@example.com")]
    bounds = {"timeMin": "2026-11-23T00:00:00Z", "timeMax": "2026-11-24T00:00:00Z"}
    checked.call("freebusy.query", body=bounds | {"items": items})


def test_what_a_reader_and_a_guest_from_outside_see_fits(checked: Checked) -> None:
    checked.google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "freeBusyReader"})
    checked.insert(**a_series())
    checked.google.control(
        "POST",
        f"/calendars/{ANNA}/events",
        {
            "organizer": "x@outside.example",
            "start": "2026-11-25T09:00:00Z",
            "link": MEET,
            "summary": "Demo",
        },
    )

    seen = checked.call("events.list", by=BEN, calendarId=ANNA, query={"singleEvents": "true"})
    own = checked.call("events.list", calendarId=ANNA)

    assert all("summary" not in item for item in seen["items"])
    assert any(item.get("hangoutLink") == MEET for item in own["items"])


def test_every_method_has_been_held_against_its_schema(checked: Checked) -> None:
    for part in (
        test_events_with_all_their_trimmings_fit,
        test_lists_of_changes_fit,
        test_everything_else_fits_too,
    ):
        part(checked)

    assert checked.seen == {method.name for method in METHODS}
