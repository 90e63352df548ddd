"""Events: lists, filters, pages, the window, and what an edit does to a row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.driving import MEET, NOW, ZOOM, Sandbox, iso
from worker.sandbox.recall.forms import Cursor, merged, page_of

EVENTS = "/api/v2/calendar-events/"


def listed(sandbox: Sandbox, query: str = "") -> list[dict[str, Any]]:
    """Follow `next` to the end."""
    rows: list[dict[str, Any]] = []
    url: str | None = f"{EVENTS}?{query}"
    while url:
        page = sandbox.get(url)
        rows += page["results"]
        url = page["next"]
    return rows


def batch(sandbox: Sandbox, calendar: str, count: int, **wish: Any) -> list[dict[str, Any]]:
    start = {"start": iso(NOW + timedelta(hours=1))}
    made: list[dict[str, Any]] = sandbox.post(
        "/_emulator/events:batch",
        [start | {"calendar_id": calendar, "title": str(i)} | wish for i in range(count)],
    )
    return made


def test_pages_hold_a_hundred_and_next_keeps_the_filters(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    made = batch(sandbox, calendar, 250)

    first = sandbox.get(f"{EVENTS}?calendar_id={calendar}&is_deleted=false")
    rows = listed(sandbox, f"calendar_id={calendar}")

    assert len(first["results"]) == 100
    assert first["next"].startswith("http://recall.test/api/v2/calendar-events/?cursor=")
    assert f"calendar_id={calendar}&is_deleted=false" in first["next"]
    assert first["previous"] is None
    assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in made)


def test_next_links_may_come_with_the_wrong_scheme(sandbox: Sandbox) -> None:
    sandbox.ws.base_url = "https://recall.test"
    sandbox.patch("/_emulator/limits", {"page_size": 1})
    batch(sandbox, sandbox.a_calendar(), 2)

    proper = sandbox.get(EVENTS)["next"]
    sandbox.patch("/_emulator/switches", {"http_next_links": True})

    assert proper.startswith("https://")
    assert sandbox.get(EVENTS)["next"].startswith("http://")


def test_a_cursor_that_is_none_of_ours_is_404(sandbox: Sandbox) -> None:
    assert sandbox.call("GET", EVENTS + "?cursor=%21%21").status_code == 404


@given(st.lists(st.sampled_from("abcdef")), st.integers(1, 4), st.booleans())
def test_following_next_shows_every_row_once_in_order(
    keys: list[str], size: int, descending: bool
) -> None:
    keys.sort(reverse=descending)
    seen: list[int] = []
    cursor: Cursor | None = Cursor()

    while cursor is not None:
        page = page_of(
            keys,
            Cursor.read(cursor.token()) if cursor != Cursor() else cursor,
            size,
            descending=descending,
        )
        seen += range(page.start, page.end)
        cursor = page.next

    assert seen == list(range(len(keys)))


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.integers(1, 4))
def test_following_previous_leads_back_to_the_first_row(keys: list[str], size: int) -> None:
    keys.sort()
    page = page_of(keys, Cursor(), size, descending=False)
    while page.next is not None:
        page = page_of(keys, page.next, size, descending=False)

    ends = [page.start]
    while page.previous is not None:
        page = page_of(keys, page.previous, size, descending=False)
        assert page.end == ends[-1]
        ends.append(page.start)

    assert ends[-1] == 0


def test_filters_are_combined(sandbox: Sandbox) -> None:
    anna, ben = sandbox.a_calendar(), sandbox.a_calendar("ben@example.com")
    early = sandbox.an_event(anna, start=iso(NOW + timedelta(hours=1)), ical_uid="abc_R2026@google.com")
    late = sandbox.an_event(anna, start=iso(NOW + timedelta(hours=9)), ical_uid="xyz")
    other = sandbox.an_event(ben, start=iso(NOW + timedelta(hours=1)), ical_uid="abc@google.com")
    sandbox.call("DELETE", f"/_emulator/events/{late['id']}")

    def ids(query: str) -> set[str]:
        return {row["id"] for row in listed(sandbox, query)}

    assert ids(f"calendar_id={anna}") == {early["id"], late["id"]}
    assert ids("is_deleted=true") == {late["id"]}
    assert ids("is_deleted=false") == {early["id"], other["id"]}
    assert ids("ical_uid=abc") == {early["id"], other["id"]}
    assert ids("ical_uid=ABC") == set()
    assert ids(f"start_time={early['start_time']}") == {early["id"], other["id"]}
    assert ids(f"start_time__gte={late['start_time']}") == {late["id"]}
    assert ids(f"start_time__lte={early['start_time']}&calendar_id={ben}") == {other["id"]}
    assert ids(f"updated_at__gte={quote(other['updated_at'])}") == {
        other["id"],
        late["id"],
    }  # inclusive


def test_a_plus_that_was_not_escaped_is_refused(sandbox: Sandbox) -> None:
    answer = sandbox.call("GET", EVENTS + "?updated_at__gte=2026-11-23T09:00:00+00:00")

    assert (answer.status_code, "updated_at__gte" in answer.json()) == (400, True)


def test_updated_at_grows_strictly_though_the_clock_stands(sandbox: Sandbox) -> None:
    made = batch(sandbox, sandbox.a_calendar(), 5)

    stamps = [row["updated_at"] for row in made]

    assert sorted(set(stamps)) == stamps


def test_a_batch_may_be_one_transaction_with_one_stamp(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"batch_shares_stamp": True})
    calendar = sandbox.a_calendar()
    stamp = batch(sandbox, calendar, 5)[0]["updated_at"]

    found = sandbox.get(EVENTS + f"?updated_at__gte={quote(stamp)}")["results"]

    assert [row["updated_at"] for row in found] == [stamp] * 5


def test_a_batch_is_announced_once_with_its_oldest_stamp(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    before = len(sandbox.sent("calendar.sync_events"))
    made = batch(sandbox, calendar, 5)

    sent = sandbox.sent("calendar.sync_events")[before:]

    assert [each["data"]["last_updated_ts"] for each in sent] == [
        made[0]["updated_at"].replace("Z", "+00:00")
    ]


def test_changes_close_together_may_share_one_announcement(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"sync_debounce_ms": 2000})
    calendar = sandbox.a_calendar()
    sandbox.pass_(seconds=3)
    before = len(sandbox.sent("calendar.sync_events"))
    first = sandbox.an_event(calendar)
    sandbox.an_event(calendar)
    early = len(sandbox.sent("calendar.sync_events"))

    sandbox.pass_(seconds=2)

    sent = sandbox.sent("calendar.sync_events")
    assert (early, len(sent)) == (before, before + 1)
    assert sent[-1]["data"]["last_updated_ts"] == first["updated_at"].replace("Z", "+00:00")


def test_an_event_beyond_the_window_shows_when_the_clock_brings_it_in(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    far = sandbox.an_event(calendar, start=iso(NOW + timedelta(days=30)))
    hidden = sandbox.call("GET", f"{EVENTS}{far['id']}/").status_code
    before = len(sandbox.sent("calendar.sync_events"))

    sandbox.pass_(days=2, seconds=1)

    row = sandbox.get(f"{EVENTS}{far['id']}/")
    assert hidden == 404
    assert row["updated_at"] == "2026-11-25T09:00:00Z"
    assert len(sandbox.sent("calendar.sync_events")) == before + 1


def test_a_roll_in_may_keep_an_old_stamp_and_stay_silent(sandbox: Sandbox) -> None:
    sandbox.patch(
        "/_emulator/switches", {"roll_in_bumps_updated_at": False, "roll_in_sends_webhook": False}
    )
    calendar = sandbox.a_calendar()
    far = sandbox.an_event(calendar, start=iso(NOW + timedelta(days=30)))
    before = len(sandbox.sent())

    sandbox.pass_(days=2, seconds=1)

    row = sandbox.get(f"{EVENTS}{far['id']}/")
    assert row["updated_at"].startswith("2026-11-23T09:00:00")
    assert listed(sandbox, f"updated_at__gte={row['updated_at']}") == [row]
    assert len(sandbox.sent()) == before


@pytest.mark.parametrize(
    ("answer", "start", "deleted"), [("updated", 40, False), ("held", 0, False), ("deleted", 40, True)]
)
def test_an_event_moved_out_of_the_window(
    sandbox: Sandbox, answer: str, start: int, deleted: bool
) -> None:
    sandbox.patch("/_emulator/switches", {"moved_out_of_window": answer})
    event = sandbox.an_event(start=iso(NOW + timedelta(hours=2)))

    sandbox.patch(
        f"/_emulator/events/{event['id']}", {"start": iso(NOW + timedelta(days=start or 40, hours=2))}
    )

    row = sandbox.get(f"{EVENTS}{event['id']}/")
    assert (row["start_time"], row["is_deleted"]) == (
        iso(NOW + timedelta(days=start, hours=2)),
        deleted,
    )


def test_rows_vanish_sixty_days_after_their_event(sandbox: Sandbox) -> None:
    event = sandbox.an_event(start=iso(NOW), end=iso(NOW + timedelta(hours=1)))
    sandbox.pass_(days=60)
    kept = sandbox.call("GET", f"{EVENTS}{event['id']}/").status_code

    sandbox.pass_(hours=1)

    assert (kept, sandbox.call("GET", f"{EVENTS}{event['id']}/").status_code) == (200, 404)


def test_a_move_keeps_length_id_and_the_bots_booked_for_the_old_time(sandbox: Sandbox) -> None:
    event = sandbox.an_event()
    sandbox.schedule(event["id"])

    moved = sandbox.patch(f"/_emulator/events/{event['id']}", {"start": iso(NOW + timedelta(hours=5))})

    assert (moved["id"], moved["start_time"]) == (event["id"], iso(NOW + timedelta(hours=5)))
    assert moved["end_time"] == iso(NOW + timedelta(hours=5, minutes=30))
    assert moved["bots"][0]["start_time"] == event["start_time"]
    assert moved["updated_at"] > event["updated_at"]


def test_bots_may_follow_a_move_by_themselves(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"auto_reschedule": True})
    event = sandbox.an_event()
    sandbox.schedule(event["id"])

    moved = sandbox.patch(f"/_emulator/events/{event['id']}", {"start": iso(NOW + timedelta(hours=5))})

    assert moved["bots"][0]["start_time"] == sandbox.live_bots()[0]["join_at"] == moved["start_time"]


def test_a_shared_bot_does_not_follow_one_of_its_events(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"auto_reschedule": True})
    event, other = sandbox.an_event(), sandbox.an_event()
    for each in (event, other):
        sandbox.schedule(each["id"], key="shared")

    sandbox.patch(f"/_emulator/events/{event['id']}", {"start": iso(NOW + timedelta(hours=5))})

    assert [bot["join_at"] for bot in sandbox.live_bots()] == [other["start_time"]]


@pytest.mark.parametrize("maps", [True, False])
def test_a_cancelled_event_loses_its_bot_and_may_count_as_deleted(sandbox: Sandbox, maps: bool) -> None:
    sandbox.patch("/_emulator/switches", {"cancelled_maps_to_is_deleted": maps})
    event = sandbox.an_event()
    sandbox.schedule(event["id"])

    row = sandbox.post(f"/_emulator/events/{event['id']}/cancel")

    assert (row["is_deleted"], row["raw"]["status"], row["bots"]) == (maps, "cancelled", [])
    assert sandbox.live_bots() == []


def test_a_deleted_event_stays_as_a_tombstone(sandbox: Sandbox) -> None:
    event = sandbox.an_event()

    sandbox.call("DELETE", f"/_emulator/events/{event['id']}")

    assert sandbox.get(f"{EVENTS}{event['id']}/")["is_deleted"] is True


def test_a_late_commit_shows_behind_the_cursor(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    sandbox.patch("/_emulator/switches", {"late_commit_ms": 3000, "late_commit_rate": 1.0})
    late = sandbox.an_event(calendar)
    sandbox.patch("/_emulator/switches", {"late_commit_ms": 0})
    prompt = sandbox.an_event(calendar)
    seen = [row["id"] for row in listed(sandbox)]

    sandbox.pass_(seconds=3)
    row = sandbox.get(f"{EVENTS}{late['id']}/")

    assert seen == [prompt["id"]]
    assert row["updated_at"] < prompt["updated_at"]
    assert {each["id"] for each in listed(sandbox, f"updated_at__gte={row['updated_at']}")} == {
        late["id"],
        prompt["id"],
    }
    assert sandbox.sent()[-1]["data"]["last_updated_ts"] == row["updated_at"].replace("Z", "+00:00")


def test_an_event_can_change_hands_under_its_id(sandbox: Sandbox) -> None:
    event, ben = sandbox.an_event(), sandbox.a_calendar("ben@example.com")

    sandbox.patch(f"/_emulator/events/{event['id']}", {"calendar_id": ben})

    assert [row["id"] for row in listed(sandbox, f"calendar_id={ben}")] == [event["id"]]


def test_rows_can_be_made_malformed(sandbox: Sandbox) -> None:
    event = sandbox.an_event(
        row={"start_time": "soon", "raw": {"summary": 7}, "meeting_url": None}, raw={"x": 1}
    )

    row = sandbox.get(f"{EVENTS}{event['id']}/")

    assert (row["start_time"], row["raw"]["summary"], row["raw"]["x"]) == ("soon", 7, 1)
    assert "meeting_url" not in row


def test_a_description_with_a_typo_is_refused(sandbox: Sandbox) -> None:
    answer = sandbox.call(
        "POST", f"/_emulator/calendars/{sandbox.a_calendar()}/events", json={"titel": "x"}
    )

    assert (answer.status_code, "titel" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("platform", ["google_calendar", "microsoft_outlook"])
@pytest.mark.parametrize("place", ["conference", "location", "description"])
@pytest.mark.parametrize(
    "link", [MEET, ZOOM, "https://teams.microsoft.com/meet/12345?p=x", "https://acme.webex.com/meet/bo"]
)
def test_a_link_is_found_wherever_the_platform_puts_it(
    sandbox: Sandbox, platform: str, place: str, link: str
) -> None:
    row = sandbox.an_event(sandbox.a_calendar(platform=platform), link=link, link_in=place)

    assert row["meeting_url"] == link
    assert row["meeting_platform"] in {"google_meet", "zoom", "microsoft_teams", "webex"}


def test_the_conference_link_wins_and_zoom_comes_first_in_a_text(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    both = sandbox.an_event(calendar, link=MEET, description=f"Or {ZOOM}.")
    text = sandbox.an_event(calendar, link=None, description=f"{MEET} or {ZOOM}.")

    assert (both["meeting_url"], text["meeting_url"]) == (MEET, ZOOM)


def test_google_says_who_answers_and_who_is_the_owner(sandbox: Sandbox) -> None:
    raw = sandbox.an_event(
        attendees=[{"email": "bob@other.com", "response": "accepted", "name": "Bob"}],
        organizer="bob@other.com",
        own_response="tentative",
        private=True,
        series_id="series1",
    )["raw"]

    assert raw["attendees"] == [
        {
            "email": "bob@other.com",
            "responseStatus": "accepted",
            "displayName": "Bob",
            "organizer": True,
        },
        {"email": "anna@example.com", "responseStatus": "tentative", "self": True},
    ]
    assert raw["visibility"] == "private"
    assert raw["id"] == "series1_20261123T110000Z"
    assert (raw["recurringEventId"], raw["iCalUID"]) == ("series1", "series1@google.com")


def test_outlook_says_the_same_in_its_own_words(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar(platform="microsoft_outlook")
    raw = sandbox.an_event(
        calendar,
        attendees=["bob@other.com"],
        organizer="bob@other.com",
        own_response="declined",
        series_id="s",
    )["raw"]

    assert raw["responseStatus"]["response"] == "declined"
    assert [each["emailAddress"]["address"] for each in raw["attendees"]] == [
        "bob@other.com",
        "anna@example.com",
    ]
    assert (raw["isOrganizer"], raw["type"], raw["seriesMasterId"]) == (False, "occurrence", "s")
    assert raw["start"] == {"dateTime": "2026-11-23T11:00:00.0000000", "timeZone": "UTC"}


def test_nobody_invited_leaves_attendees_out_and_all_day_has_dates(sandbox: Sandbox) -> None:
    row = sandbox.an_event(all_day=True, start="2026-11-24", end="2026-11-25")

    assert "attendees" not in row["raw"]
    assert (row["raw"]["start"], row["start_time"]) == ({"date": "2026-11-24"}, "2026-11-24T00:00:00Z")


def test_a_merge_patch_removes_with_null_and_merges_deeply() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None}, "d": [1]}) == {
        "a": {"c": 2},
        "d": [1],
    }
