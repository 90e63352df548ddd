"""Outlook's calendars through our adapter, before an emulator that Microsoft's own SDK accepts."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.providers.accounts.kit import (
    ANNA,
    REDIRECT,
    VERIFIER,
    Platform,
    cursor_of,
    titles,
    window,
)
from worker.clock import utc_now
from worker.errors import AlreadyGone, ConsentLost, CursorGone, Reaction, Refused, TryLater
from worker.ports_direct import Tokens

DAILY = {
    "pattern": {"type": "daily", "interval": 1},
    "range": {"type": "numbered", "numberOfOccurrences": 3},
}


def redeemed(microsoft: Platform) -> Tokens:
    return microsoft.authority.redeem(
        microsoft.app, microsoft.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )


def a_series(microsoft: Platform, title: str = "Daily") -> str:
    return microsoft.put(title, recurrence=DAILY)


def test_a_code_becomes_tokens_and_they_say_whose_they_are(microsoft: Platform) -> None:
    given = redeemed(microsoft)

    assert given.refresh_token is not None
    assert microsoft.authority.account(given.access_token).email == ANNA


def test_every_refresh_brings_a_refresh_token_that_replaces_the_old_one(microsoft: Platform) -> None:
    given = redeemed(microsoft)
    assert given.refresh_token is not None

    again = microsoft.authority.refresh(microsoft.app, given.refresh_token)

    assert again.refresh_token not in {None, given.refresh_token}


def test_a_consent_that_was_taken_back_is_lost(microsoft: Platform) -> None:
    given = redeemed(microsoft)
    assert given.refresh_token is not None
    microsoft.control("POST", "/oauth/revoke", {"account": ANNA})

    with pytest.raises(ConsentLost):
        microsoft.authority.refresh(microsoft.app, given.refresh_token)


def test_the_calendars_of_a_mailbox_are_listed_the_default_one_first(microsoft: Platform) -> None:
    microsoft.control("POST", f"/accounts/{ANNA}/calendars", {"name": "Team"})

    found = microsoft.calendars.calendars(microsoft.token())

    assert [one.is_primary for one in found] == [True, *[False] * (len(found) - 1)]
    assert "Team" in {one.name for one in found}


def test_a_window_is_read_whole_with_occurrences(microsoft: Platform) -> None:
    microsoft.put("Once")
    a_series(microsoft)

    readings = microsoft.read_all()

    assert titles(readings) == ["Daily", "Daily", "Daily", "Once"]
    assert readings[-1].cursor is not None
    links = {found.event.link and found.event.link.platform for r in readings for found in r.events}
    assert links == {"google_meet"}


def test_what_changed_is_read_alone(microsoft: Platform) -> None:
    microsoft.put("Kept")
    changed, deleted = microsoft.put("Changed"), microsoft.put("Deleted")
    before = microsoft.read_all()
    names = {f.event.title: f.event.external_id for r in before for f in r.events}
    microsoft.change(changed, title="Changed indeed")
    microsoft.delete(deleted)

    readings = microsoft.read_changes(cursor_of(before))

    assert titles(readings) == ["Changed indeed"]
    assert [name for reading in readings for name in reading.removed] == [names["Deleted"]]
    assert titles(microsoft.read_changes(cursor_of(readings))) == []


def test_ids_stay_when_an_event_is_read_in_another_way(microsoft: Platform) -> None:
    """The immutable ones: listing, round, and single look have to name an event alike."""
    event = microsoft.put("Once")
    before = microsoft.read_all()
    microsoft.change(event, title="Once more")

    readings = microsoft.read_changes(cursor_of(before))

    ids = [{f.event.external_id for r in some for f in r.events} for some in (before, readings)]
    assert ids[0] == ids[1]


def test_a_changed_series_is_read_with_all_its_occurrences(microsoft: Platform) -> None:
    series = a_series(microsoft)
    cursor = cursor_of(microsoft.read_all())
    microsoft.change(series, title="Daily indeed")

    readings = microsoft.read_changes(cursor)

    assert titles(readings) == ["Daily indeed"] * 3
    assert len([name for reading in readings for name in reading.replaced]) == 1


def test_a_deleted_series_is_gone_with_all_its_occurrences(microsoft: Platform) -> None:
    series = a_series(microsoft)
    before = microsoft.read_all()
    names = {f.event.series_id for r in before for f in r.events}
    microsoft.delete(series)

    removed = {name for r in microsoft.read_changes(cursor_of(before)) for name in r.removed}

    assert names <= removed


def test_a_deleted_occurrence_is_missed_in_the_series_when_the_round_tells(
    microsoft: Platform,
) -> None:
    microsoft.control("PATCH", "/switches", {"deleted_occurrence_in_delta": "series"})
    a_series(microsoft)
    before = microsoft.read_all()
    second = sorted((f.event.start, f.event.external_id) for r in before for f in r.events)[1][1]
    microsoft.delete(second)

    (whole,) = [r for r in microsoft.read_changes(cursor_of(before)) if r.replaced]

    assert second not in {found.event.external_id for found in whole.events}
    assert len(whole.events) == 2


def test_what_moved_out_of_the_window_is_no_deletion(microsoft: Platform) -> None:
    event = microsoft.put("Moved")
    before = microsoft.read_all()
    far = utc_now() + timedelta(days=90)
    microsoft.change(event, start=far.isoformat(), end=(far + timedelta(hours=1)).isoformat())

    readings = microsoft.read_changes(cursor_of(before))

    assert [name for reading in readings for name in reading.removed] == []
    assert titles(readings) == ["Moved"]


@pytest.mark.parametrize(
    "spelling", ["SyncStateNotFound", "syncStateNotFound", "SyncStateInvalid", "resyncRequired"]
)
def test_a_token_that_graph_forgot_says_so(microsoft: Platform, spelling: str) -> None:
    microsoft.control("PATCH", "/switches", {"dead_delta_token": spelling})
    cursor = cursor_of(microsoft.read_all())
    microsoft.control("POST", "/delta/forget", {})

    with pytest.raises(CursorGone):
        microsoft.read_changes(cursor)


def test_a_cursor_of_another_host_is_asked_for_nowhere(microsoft: Platform) -> None:
    with pytest.raises(CursorGone):
        microsoft.read_changes("https://evil.test/v1.0/me/calendarView/delta?$deltatoken=x")


def test_a_removed_row_without_an_id_is_told_and_stops_nothing(microsoft: Platform) -> None:
    cursor = cursor_of(microsoft.read_all())
    page = {"value": [{"@removed": {"reason": "deleted"}}], "@odata.deltaLink": cursor}
    microsoft.control("POST", "/faults", {"status": 200, "body": page, "path": "delta"})

    readings = microsoft.read_changes(cursor)

    assert [row.reason for reading in readings for row in reading.unreadable] == ["id is missing"]
    assert cursor_of(readings) == cursor


@pytest.mark.parametrize(
    "row",
    [
        {"id": "x", "type": "occurrence", "seriesMasterId": ".."},
        {"id": "..", "@removed": {"reason": "deleted"}},
        {"id": "made-up", "@removed": {"reason": "deleted"}},
    ],
    ids=["a series", "an event", "what Graph itself refuses"],
)
def test_what_cannot_be_asked_for_has_everything_read(
    microsoft: Platform, row: dict[str, object]
) -> None:
    cursor = cursor_of(microsoft.read_all())
    page = {"value": [row], "@odata.deltaLink": cursor}
    microsoft.control("POST", "/faults", {"status": 200, "body": page, "path": "delta"})

    with pytest.raises(CursorGone):
        microsoft.read_changes(cursor)


@pytest.mark.parametrize(
    ("fault", "reaction", "counts"),
    [
        ({"status": 429, "retry_after": 7}, TryLater, False),
        ({"status": 503, "retry_after": 7}, TryLater, True),
        ({"status": 500}, TryLater, True),
        ({"status": 401, "code": "InvalidAuthenticationToken"}, ConsentLost, True),
        ({"status": 403, "code": "ErrorAccessDenied"}, ConsentLost, True),
        ({"status": 404, "code": "ErrorItemNotFound"}, AlreadyGone, True),
        ({"status": 400, "code": "ErrorInvalidRequest"}, Refused, True),
        ({"status": 410, "code": "ErrorItemNotFound"}, AlreadyGone, True),
        ({"status": 410, "code": "SyncStateNotFound"}, CursorGone, True),
        ({"kind": "html"}, TryLater, True),
        ({"kind": "html", "status": 404}, TryLater, True),
        ({"kind": "html", "status": 410}, TryLater, True),
        ({"kind": "truncate"}, TryLater, True),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_graph_refuses_has_one_reaction(
    microsoft: Platform, fault: dict[str, object], reaction: type[Reaction], *, counts: bool
) -> None:
    primary = microsoft.primary
    microsoft.control("POST", "/faults", {**fault, "path": "/calendarView"})

    with pytest.raises(reaction) as raised:
        list(microsoft.calendars.read_all(microsoft.token(), primary, window(), email=ANNA))

    assert type(raised.value) is reaction
    if isinstance(raised.value, TryLater):
        assert raised.value.counts is counts


def test_a_subscription_needs_a_receiver_that_answers(microsoft: Platform) -> None:
    with pytest.raises(Reaction):
        microsoft.calendars.open_channel(
            microsoft.token(),
            microsoft.primary,
            channel_id=uuid4(),
            secret="s" * 109,
            until=utc_now() + timedelta(days=6),
        )


@pytest.mark.parametrize("code", ["EwB4-a-token-1", "two words", "x" * 65, "", 17, None])
def test_what_is_no_word_of_graphs_is_repeated_nowhere(microsoft: Platform, code: object) -> None:
    """A gateway in between may say anything, also what it was told."""
    primary = microsoft.primary
    body = {"error": {"code": code, "message": "EwB4-a-token-1"}}
    microsoft.control("POST", "/faults", {"status": 400, "path": "/calendarView", "body": body})

    with pytest.raises(Refused) as refused:
        list(microsoft.calendars.read_all(microsoft.token(), primary, window(), email=ANNA))

    assert str(refused.value) == "microsoft begin_changes: 400"
