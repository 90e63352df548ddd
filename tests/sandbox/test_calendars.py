"""Calendars: how they connect, lose their permission, come back and go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.sandbox.driving import NOW, Sandbox, iso

CALENDARS = "/api/v2/calendars/"
NEW = {
    "platform": "google_calendar",
    "oauth_client_id": "id",
    "oauth_client_secret": "secret",
    "oauth_refresh_token": "rt:anna@example.com",
}


def connected(sandbox: Sandbox, **wish: str) -> dict[str, Any]:
    made = sandbox.post(CALENDARS, NEW | wish)
    sandbox.pass_(seconds=1)
    shown: dict[str, Any] = sandbox.get(f"{CALENDARS}{made['id']}/")
    return shown


def test_a_new_calendar_connects_a_moment_later(sandbox: Sandbox) -> None:
    made = sandbox.call("POST", CALENDARS, json=NEW)
    sandbox.pass_(seconds=1)
    shown = sandbox.get(f"{CALENDARS}{made.json()['id']}/")

    assert (made.status_code, made.json()["status"], made.json()["platform_email"]) == (
        201,
        "connecting",
        None,
    )
    assert (shown["status"], shown["platform_email"]) == ("connected", "anna@example.com")
    assert [each["status"] for each in shown["status_changes"]] == ["connecting", "connected"]
    assert shown["oauth_client_secret"] == "secret"


def test_connecting_announces_the_calendar_and_its_events(sandbox: Sandbox) -> None:
    made = sandbox.post(CALENDARS, NEW)
    for hours in (1, 2):
        start = {"start": iso(NOW + timedelta(hours=hours))}
        sandbox.post(f"/_emulator/calendars/{made['id']}/events", start)
    sandbox.pass_(seconds=1)

    update, sync = sandbox.sent()
    rows = sandbox.get("/api/v2/calendar-events/")["results"]

    assert update == {"event": "calendar.update", "data": {"calendar_id": made["id"]}}
    assert sync["event"] == "calendar.sync_events"
    assert {row["updated_at"].replace("Z", "+00:00") for row in rows} == {
        sync["data"]["last_updated_ts"]
    }
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("bad_grant", "invalid_grant"),
        ("no_scope", "invalid_scope(detail"),
        ("bad_secret", "AADSTS7000215"),
    ],
)
def test_a_token_that_is_no_good_ends_disconnected(sandbox: Sandbox, token: str, reason: str) -> None:
    shown = connected(sandbox, oauth_refresh_token=token)

    assert shown["status"] == "disconnected"
    assert shown["status_changes"][-1]["reason"].startswith(reason)


def test_missing_and_bad_fields_are_named(sandbox: Sandbox) -> None:
    answer = sandbox.call("POST", CALENDARS, json={"platform": "icloud", "oauth_email": "nobody"})

    assert answer.status_code == 400
    assert set(answer.json()) == {
        "platform",
        "oauth_email",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_refresh_token",
    }


def test_the_same_account_twice_makes_two_calendars(sandbox: Sandbox) -> None:
    assert connected(sandbox)["id"] != connected(sandbox)["id"]


def test_losing_permission_takes_the_bots_off_and_is_announced(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    event = sandbox.an_event(calendar)
    sandbox.schedule(event["id"])

    sandbox.post(f"/_emulator/calendars/{calendar}/disconnect")

    assert sandbox.live_bots() == []
    assert sandbox.get(f"/api/v2/calendar-events/{event['id']}/")["bots"] == []
    assert sandbox.sent()[-1]["event"] == "calendar.update"
    assert sandbox.get(f"{CALENDARS}{calendar}/")["status"] == "disconnected"


def test_changes_during_a_disconnection_show_after_a_new_token(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    event = sandbox.an_event(calendar, title="Before")
    sandbox.post(f"/_emulator/calendars/{calendar}/disconnect")
    sandbox.patch(f"/_emulator/events/{event['id']}", {"title": "After"})
    meanwhile = sandbox.get(f"/api/v2/calendar-events/{event['id']}/")["raw"]["summary"]

    sandbox.patch(f"{CALENDARS}{calendar}/", {"oauth_refresh_token": "rt:anna@example.com#2"})
    sandbox.pass_(seconds=1)
    row = sandbox.get(f"/api/v2/calendar-events/{event['id']}/")

    assert (meanwhile, row["raw"]["summary"]) == ("Before", "After")
    assert sandbox.get(f"{CALENDARS}{calendar}/")["platform_email"] == "anna@example.com"


def test_a_new_client_secret_alone_reconnects(sandbox: Sandbox) -> None:
    made = connected(sandbox, oauth_client_secret="bad_secret", platform="microsoft_outlook")

    sandbox.patch(f"{CALENDARS}{made['id']}/", {"oauth_client_secret": "good"})
    sandbox.pass_(seconds=1)

    assert sandbox.get(f"{CALENDARS}{made['id']}/")["status"] == "connected"


def test_the_same_token_again_changes_nothing_unless_switched(sandbox: Sandbox) -> None:
    made = connected(sandbox)
    same = {"oauth_refresh_token": made["oauth_refresh_token"]}

    calm = sandbox.patch(f"{CALENDARS}{made['id']}/", same)["status"]
    sandbox.patch("/_emulator/switches", {"patch_same_token_resyncs": True})
    stirred = sandbox.patch(f"{CALENDARS}{made['id']}/", same)["status"]

    assert (calm, stirred) == ("connected", "connecting")


def test_a_deleted_calendar_is_gone_with_events_and_bots_and_without_a_word(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    event = sandbox.an_event(calendar)
    sandbox.schedule(event["id"])
    before = len(sandbox.sent())

    assert sandbox.call("DELETE", f"{CALENDARS}{calendar}/").status_code == 204

    assert sandbox.call("GET", f"{CALENDARS}{calendar}/").status_code == 404
    assert sandbox.call("GET", f"/api/v2/calendar-events/{event['id']}/").status_code == 404
    assert sandbox.live_bots() == []
    assert len(sandbox.sent()) == before


def test_a_deleted_calendar_may_still_show_as_disconnected(sandbox: Sandbox) -> None:
    sandbox.patch(
        "/_emulator/switches",
        {"deleted_calendar_gives_404": False, "events_of_deleted_calendar": "deleted"},
    )
    calendar = sandbox.a_calendar()
    event = sandbox.an_event(calendar)

    sandbox.call("DELETE", f"{CALENDARS}{calendar}/")

    assert sandbox.get(f"{CALENDARS}{calendar}/")["status"] == "disconnected"
    assert sandbox.get(f"/api/v2/calendar-events/{event['id']}/")["is_deleted"] is True


def test_the_access_token_is_refused_once_disconnected(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    good = sandbox.post(f"{CALENDARS}{calendar}/access-token/")
    sandbox.post(f"/_emulator/calendars/{calendar}/disconnect")

    refused = sandbox.call("POST", f"{CALENDARS}{calendar}/access-token/")

    assert set(good) == {"token", "expires_at"}
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_refresh_token")


def test_calendars_are_filtered(sandbox: Sandbox) -> None:
    anna, ben = sandbox.a_calendar(), sandbox.a_calendar("ben@example.com", "microsoft_outlook")
    sandbox.post(f"/_emulator/calendars/{ben}/disconnect")

    def ids(query: str) -> list[str]:
        return [row["id"] for row in sandbox.get(f"{CALENDARS}?{query}")["results"]]

    assert ids("email=anna@example.com") == [anna]
    assert ids("platform=microsoft_outlook") == [ben]
    assert ids("status=connected") == [anna]
    assert ids("platform_email=nobody@example.com") == [ben, anna]  # an unknown filter is ignored
    assert ids(f"created_at__gte={iso(NOW + timedelta(days=1))}") == []


def test_a_rotated_token_may_be_echoed(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"rotated_token_echoed": True})

    shown = connected(sandbox, platform="microsoft_outlook")

    assert shown["oauth_refresh_token"] != NEW["oauth_refresh_token"]
    assert shown["platform_email"] == "anna@example.com"
