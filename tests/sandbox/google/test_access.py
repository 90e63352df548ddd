"""Who may do what: tokens, scopes, roles, quota; and calendars, settings and free/busy."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from tests.sandbox.google.driving import ANNA, BEN, CARLA, Google, a_series, an_event, guests, reason_of
from worker.sandbox.google.surface import METHODS, Method

EVENTS = "calendars/primary/events"
DAY = {"timeMin": "2026-11-23T00:00:00Z", "timeMax": "2026-11-24T00:00:00Z"}


@pytest.fixture
def google() -> Google:
    return Google()


def published(method: Method) -> dict[str, Any]:
    """Return what Google's discovery document says of a method."""
    documents = files("googleapiclient.discovery_cache.documents")
    discovery = json.loads(documents.joinpath("calendar.v3.json").read_text())
    resource, name = method.name.split(".")
    found: dict[str, Any] = discovery["resources"][resource]["methods"][name]
    return found


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_methods_are_where_google_has_them_and_take_the_same_scopes(method: Method) -> None:
    found = published(method)

    assert (method.verb, method.path) == (found["httpMethod"], found["path"])
    assert method.scopes == set(found["scopes"])


def test_a_scope_that_does_not_fit_is_refused_with_its_reason(google: Google) -> None:
    answer = google.call("GET", "users/me/calendarList", scopes=("calendar.events",))

    assert reason_of(answer) == (403, "insufficientPermissions")
    detail = answer.json()["error"]["details"][0]
    assert detail["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("scope", "status"),
    [("calendar.freebusy", 200), ("calendar.readonly", 200), ("calendar.events", 403)],
)
def test_free_busy_wants_scopes_of_its_own(google: Google, scope: str, status: int) -> None:
    answer = google.call("POST", "freeBusy", scopes=(scope,), json=DAY | {"items": [{"id": ANNA}]})

    assert answer.status_code == status


def test_reading_scopes_cannot_write(google: Google) -> None:
    answer = google.call("POST", EVENTS, scopes=("calendar.events.readonly",), json=an_event())

    assert answer.status_code == 403


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer stranger"}])
def test_a_token_that_is_missing_or_unknown_is_challenged(
    google: Google, headers: dict[str, str]
) -> None:
    answer = google.raw("GET", "/calendar/v3/users/me/calendarList", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer realm=")


def test_a_revoked_token_opens_nothing(google: Google) -> None:
    google.list()

    google.control("POST", "/oauth/revoke", {"account": ANNA})

    assert reason_of(google.call("GET", EVENTS)) == (401, "authError")


def test_a_calendar_that_is_not_shared_does_not_exist(google: Google) -> None:
    answer = google.call("GET", f"calendars/{ANNA}/events", by=BEN)

    assert reason_of(answer) == (404, "notFound")


def test_a_reader_cannot_write(google: Google) -> None:
    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "reader"})

    answer = google.call("POST", f"calendars/{ANNA}/events", by=BEN, json=an_event())

    assert reason_of(answer) == (403, "requiredAccessLevel")


def test_private_events_hide_their_details_from_readers(google: Google) -> None:
    google.insert(visibility="private", attendees=guests(CARLA))
    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "reader"})

    [seen] = google.everything(by=BEN, calendar=ANNA).items

    assert "summary" not in seen
    assert "attendees" not in seen
    assert seen["visibility"] == "private"
    assert seen["start"]["dateTime"] == "2026-11-23T11:00:00Z"


def test_one_who_writes_without_private_access_cannot_change_private_events(google: Google) -> None:
    private, public = google.insert(visibility="private"), google.insert()
    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "writerWithoutPrivateAccess"})

    refused = google.call(
        "PATCH", f"calendars/{ANNA}/events/{private['id']}", by=BEN, json={"summary": "x"}
    )

    assert reason_of(refused) == (403, "requiredAccessLevel")
    assert google.patch(public, by=BEN, calendar=ANNA, summary="x")["summary"] == "x"


def test_quota_is_counted_per_user_over_a_sliding_minute(google: Google) -> None:
    google.limit(per_user=2)
    codes = [google.call("GET", EVENTS).status_code for _ in range(3)]
    ben = google.call("GET", EVENTS, by=BEN).status_code
    google.pass_(seconds=60)

    assert codes == [200, 200, 403]
    assert ben == 200
    assert google.call("GET", EVENTS).status_code == 200


def test_quota_is_counted_per_project_too_and_may_answer_429(google: Google) -> None:
    google.limit(per_project=1)
    google.list()

    refused = google.call("GET", EVENTS, by=BEN)
    google.switch(quota_is_429=True)
    too_many = google.call("GET", EVENTS, by=BEN)

    assert reason_of(refused) == (403, "rateLimitExceeded")
    assert refused.json()["error"]["errors"][0]["domain"] == "usageLimits"
    assert reason_of(too_many) == (429, "rateLimitExceeded")
    assert "retry-after" not in too_many.headers


def test_the_list_has_the_primary_calendar_and_shared_ones(google: Google) -> None:
    google.control("PUT", f"/calendars/{BEN}/entries/{ANNA}", {"role": "reader"})

    listed = google.get("users/me/calendarList")

    roles = {item["id"]: (item.get("primary"), item["accessRole"]) for item in listed["items"]}
    assert roles == {ANNA: (True, "owner"), BEN: (None, "reader")}
    assert "nextSyncToken" in listed


def test_the_list_can_be_kept_to_calendars_one_may_write_to(google: Google) -> None:
    google.control("PUT", f"/calendars/{BEN}/entries/{ANNA}", {"role": "reader"})

    listed = google.get("users/me/calendarList", minAccessRole="writer")

    assert [item["id"] for item in listed["items"]] == [ANNA]
    assert "nextSyncToken" not in listed


def test_hidden_calendars_are_listed_when_asked_for(google: Google) -> None:
    google.control("PUT", f"/calendars/{BEN}/entries/{ANNA}", {"role": "reader", "hidden": True})

    usual, all_of_them = (
        google.get("users/me/calendarList", showHidden=flag) for flag in ("false", "true")
    )

    assert [item["id"] for item in usual["items"]] == [ANNA]
    assert {item["id"]: item.get("hidden") for item in all_of_them["items"]} == {ANNA: None, BEN: True}


def test_an_incremental_list_always_has_deleted_and_hidden_entries(google: Google) -> None:
    google.control("PUT", f"/calendars/{BEN}/entries/{ANNA}", {"role": "reader"})
    token = google.get("users/me/calendarList")["nextSyncToken"]

    google.control("PUT", f"/calendars/{BEN}/entries/{ANNA}", {"role": "none"})

    [entry] = google.get("users/me/calendarList", syncToken=token)["items"]
    assert (entry["id"], entry["deleted"]) == (BEN, True)


@pytest.mark.parametrize(
    "query",
    [{"minAccessRole": "reader"}, {"showOwnOrganizationOnly": "true"}, {"showDeleted": "false"}],
)
def test_a_token_of_the_list_does_not_go_with_filters(google: Google, query: dict[str, str]) -> None:
    token = google.get("users/me/calendarList")["nextSyncToken"]

    answer = google.call("GET", "users/me/calendarList", params={"syncToken": token, **query})

    assert reason_of(answer) == (400, "badRequest")


def test_a_renamed_calendar_is_reported_only_where_the_switch_says_so(google: Google) -> None:
    token = google.get("users/me/calendarList")["nextSyncToken"]
    google.control("PATCH", f"/calendars/{ANNA}", {"summary": "Me"})
    silent = google.get("users/me/calendarList", syncToken=token)["items"]
    google.switch(calendar_properties_reported=True)
    google.control("PATCH", f"/calendars/{ANNA}", {"summary": "Myself"})

    told = google.get("users/me/calendarList", syncToken=token)["items"]

    assert silent == []
    assert [item["summary"] for item in told] == ["Myself"]


def test_the_list_comes_in_pages(google: Google) -> None:
    for number in range(3):
        google.control("POST", "/calendars", {"account": ANNA, "summary": f"Team {number}"})

    first = google.get("users/me/calendarList", maxResults=3)
    last = google.get("users/me/calendarList", maxResults=3, pageToken=first["nextPageToken"])

    assert [len(first["items"]), len(last["items"])] == [3, 1]


def test_a_calendar_can_be_created_and_read(google: Google) -> None:
    made = google.call(
        "POST", "calendars", json={"summary": "Team", "timeZone": "Europe/Berlin"}
    ).json()

    assert google.get(f"calendars/{made['id']}") == made
    assert made["dataOwner"] == ANNA
    assert google.get(f"users/me/calendarList/{made['id']}")["accessRole"] == "owner"


def test_a_user_may_create_so_many_calendars(google: Google) -> None:
    google.limit(new_calendars=1)
    google.call("POST", "calendars", json={"summary": "One"})

    answer = google.call("POST", "calendars", json={"summary": "Two"})

    assert reason_of(answer) == (403, "quotaExceeded")


def test_settings_tell_the_time_zone_and_what_changed(google: Google) -> None:
    google.control("POST", "/accounts", {"email": CARLA, "time_zone": "Europe/Berlin"})
    token = google.get("users/me/settings", by=CARLA)["nextSyncToken"]

    google.control("PATCH", f"/accounts/{CARLA}/settings", {"locale": "de"})

    assert google.get("users/me/settings/timezone", by=CARLA)["value"] == "Europe/Berlin"
    [changed] = google.get("users/me/settings", by=CARLA, syncToken=token)["items"]
    assert (changed["id"], changed["value"]) == ("locale", "de")


def busy(google: Google, *calendars: str, by: str = ANNA, **more: Any) -> Any:
    body = DAY | {"items": [{"id": each} for each in calendars]} | more
    return google.call("POST", "freeBusy", by=by, json=body).raise_for_status().json()["calendars"]


def at(hour: int, minute: int = 0) -> dict[str, str]:
    return {"dateTime": f"2026-11-23T{hour:02}:{minute:02}:00Z"}


def test_busy_times_are_merged_cut_and_ordered(google: Google) -> None:
    google.insert(start=at(14), end=at(15))
    google.insert(start=at(9), end=at(10))
    google.insert(start=at(9, 30), end=at(11))
    google.insert(start={"dateTime": "2026-11-22T23:00:00Z"}, end=at(1))

    assert busy(google, ANNA)[ANNA]["busy"] == [
        {"start": "2026-11-23T00:00:00Z", "end": "2026-11-23T01:00:00Z"},
        {"start": "2026-11-23T09:00:00Z", "end": "2026-11-23T11:00:00Z"},
        {"start": "2026-11-23T14:00:00Z", "end": "2026-11-23T15:00:00Z"},
    ]


def test_transparent_declined_and_cancelled_events_leave_one_free(google: Google) -> None:
    google.insert(transparency="transparent")
    google.delete(google.insert())
    declined = google.insert(by=BEN, attendees=guests(ANNA))
    google.control(
        "POST", f"/calendars/{ANNA}/events/{declined['id']}/respond", {"response": "declined"}
    )

    assert busy(google, ANNA) == {ANNA: {"busy": []}}


def test_an_invitation_without_answer_keeps_one_busy_and_so_does_every_occurrence(
    google: Google,
) -> None:
    google.insert(by=BEN, attendees=guests(ANNA))
    google.insert(**a_series())

    assert [span["start"][11:16] for span in busy(google, ANNA)[ANNA]["busy"]] == ["08:00", "11:00"]


def test_what_is_not_known_is_an_error_in_a_200(google: Google) -> None:
    google.control("POST", "/accounts", {"email": CARLA})
    google.control("PATCH", f"/calendars/{BEN}", {"free_busy_error": "internalError"})

    told = busy(google, ANNA, BEN, CARLA, "nobody@example.com")

    reasons = {name: [e["reason"] for e in each.get("errors", [])] for name, each in told.items()}
    assert reasons == {
        ANNA: [],
        BEN: ["internalError"],
        CARLA: ["notFound"],
        "nobody@example.com": ["notFound"],
    }


def test_times_come_in_the_zone_asked_for(google: Google) -> None:
    google.insert()

    spans = busy(google, ANNA, timeZone="Europe/Berlin")[ANNA]["busy"]

    assert spans[0]["start"] == "2026-11-23T12:00:00+01:00"


def test_groups_are_expanded_and_may_be_too_big(google: Google) -> None:
    google.control("PUT", "/groups/team@example.com", {"members": [ANNA, BEN]})
    body = DAY | {"items": [{"id": "team@example.com"}]}

    told = google.call("POST", "freeBusy", json=body).json()
    small = google.call("POST", "freeBusy", json=body | {"groupExpansionMax": 1}).json()

    assert told["groups"] == {"team@example.com": {"calendars": [ANNA, BEN]}}
    assert set(told["calendars"]) == {ANNA, BEN}
    assert small["groups"]["team@example.com"]["errors"][0]["reason"] == "groupTooBig"


def test_too_many_calendars_are_told_one_by_one(google: Google) -> None:
    told = busy(google, ANNA, BEN, calendarExpansionMax=1)

    assert told[BEN]["errors"][0]["reason"] == "tooManyCalendarsRequested"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timeMax": "2026-11-23T00:00:00Z"}, "timeRangeEmpty"),
        ({"timeMax": "2027-11-23T00:00:00Z"}, "timeRangeTooLong"),
        ({"timeMin": None}, "required"),
        ({"items": None}, "required"),
        ({"calendarExpansionMax": 51}, "invalid"),
    ],
)
def test_free_busy_refuses_what_it_cannot_answer(
    google: Google, change: dict[str, Any], reason: str
) -> None:
    body = DAY | {"items": [{"id": ANNA}]} | change

    assert reason_of(google.call("POST", "freeBusy", json=body)) == (400, reason)


def test_free_and_busy_may_be_secret_within_a_domain(google: Google) -> None:
    google.switch(domain_shares_free_busy=False)

    assert busy(google, BEN)[BEN]["errors"][0]["reason"] == "notFound"
