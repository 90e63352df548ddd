"""Google's calendars through our adapter, before an emulator that Google's own clients accept."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote
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
from worker.errors import (
    AlreadyGone,
    AuthorizationLost,
    ConsentLost,
    CursorGone,
    Reaction,
    Refused,
    TryLater,
)
from worker.ports_direct import OAuthApp


def test_a_code_becomes_tokens_and_they_say_whose_they_are(google: Platform) -> None:
    given = google.authority.redeem(
        google.app, google.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )

    assert given.refresh_token is not None
    assert timedelta(minutes=50) < given.expires_in <= timedelta(hours=1)
    assert google.authority.account(given.access_token).email == ANNA


def test_a_code_works_once_and_with_its_verifier_alone(google: Platform) -> None:
    code = google.agree()
    with pytest.raises(ConsentLost):
        google.authority.redeem(google.app, code, redirect_uri=REDIRECT, verifier="w" * 50)
    code = google.agree()
    google.authority.redeem(google.app, code, redirect_uri=REDIRECT, verifier=VERIFIER)

    with pytest.raises(ConsentLost):
        google.authority.redeem(google.app, code, redirect_uri=REDIRECT, verifier=VERIFIER)


def test_a_refresh_brings_an_access_token_and_keeps_the_refresh_token(google: Platform) -> None:
    given = google.authority.redeem(
        google.app, google.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )
    assert given.refresh_token is not None

    again = google.authority.refresh(google.app, given.refresh_token)

    assert again.access_token != given.access_token
    assert again.refresh_token is None


def test_a_consent_that_was_taken_back_is_lost(google: Platform) -> None:
    given = google.authority.redeem(
        google.app, google.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )
    assert given.refresh_token is not None
    google.authority.revoke(google.app, given.refresh_token)
    google.authority.revoke(google.app, given.refresh_token)  # gone already is fine

    with pytest.raises(ConsentLost):
        google.authority.refresh(google.app, given.refresh_token)


@pytest.mark.parametrize("said", ["1//0a-refresh-token", "Invalid grant", "x" * 65, "", 17, None])
def test_what_is_no_code_of_an_error_is_repeated_nowhere(google: Platform, said: object) -> None:
    """A gateway in between may say anything, also what it was told."""
    body = {"error": said, "error_description": "1//0a-refresh-token"}
    fault = {"operation": "oauth.token", "status": 400, "times": 1, "body": body}
    google.control("POST", "/oauth/faults", fault)

    with pytest.raises(TryLater) as later:
        google.authority.refresh(google.app, "1//0a-refresh-token")

    assert str(later.value) == "google.refresh: 400"


def test_a_wrong_client_secret_is_the_operators_matter(google: Platform) -> None:
    wrong = OAuthApp("google", google.app.client_id, "wrong")

    with pytest.raises(AuthorizationLost) as lost:
        google.authority.redeem(wrong, google.agree(), redirect_uri=REDIRECT, verifier=VERIFIER)
    assert not isinstance(lost.value, ConsentLost)


def test_the_calendars_of_an_account_are_listed_its_own_first(google: Platform) -> None:
    google.control("POST", "/calendars", {"account": ANNA, "summary": "Team"})

    found = google.calendars.calendars(google.token())

    assert (found[0].external_id, found[0].is_primary) == (ANNA, True)
    assert [one.name for one in found][1:] == ["Team"]


def test_a_window_is_read_whole_with_occurrences(google: Platform) -> None:
    google.put("Once")
    google.put("Daily", recurrence=["RRULE:FREQ=DAILY;COUNT=3"], zone="Europe/Berlin")

    readings = google.read_all()

    assert titles(readings) == ["Daily", "Daily", "Daily", "Once"]
    assert [reading.cursor is not None for reading in readings] == [False] * (len(readings) - 1) + [
        True
    ]
    link = {found.event.link and found.event.link.platform for r in readings for found in r.events}
    assert link == {"google_meet"}


def test_what_changed_is_read_alone(google: Platform) -> None:
    kept, changed, deleted = google.put("Kept"), google.put("Changed"), google.put("Deleted")
    cursor = cursor_of(google.read_all())
    google.change(changed, summary="Changed indeed")
    google.delete(deleted)

    readings = google.read_changes(cursor)

    assert titles(readings) == ["Changed indeed"]
    assert [name for reading in readings for name in reading.removed] == [deleted]
    assert titles(google.read_changes(cursor_of(readings))) == []
    assert kept


@pytest.mark.parametrize("told_as", ["instances", "master", "both"])
def test_a_deleted_series_is_gone_however_it_is_told(google: Platform, told_as: str) -> None:
    google.control("PATCH", "/switches", {"deleted_series_as": told_as})
    series = google.put("Daily", recurrence=["RRULE:FREQ=DAILY;COUNT=3"], zone="Europe/Berlin")
    readings = google.read_all()
    cursor, occurrences = (
        cursor_of(readings),
        {found.event.external_id for reading in readings for found in reading.events},
    )
    google.delete(series)

    removed = {name for reading in google.read_changes(cursor) for name in reading.removed}

    assert series in removed or occurrences <= removed


def test_a_changed_series_is_read_with_all_its_occurrences(google: Platform) -> None:
    start = (utc_now() + timedelta(days=1)).replace(microsecond=0)
    series = google.put(
        "Daily", start=start, recurrence=["RRULE:FREQ=DAILY;COUNT=3"], zone="Europe/Berlin"
    )
    cursor = cursor_of(google.read_all())
    google.change(series, recurrence=["RRULE:FREQ=DAILY;COUNT=2"])

    readings = google.read_changes(cursor)

    assert {name for reading in readings for name in reading.replaced} == {series}
    (whole,) = [reading for reading in readings if reading.replaced]
    assert len(whole.events) == 2


def test_a_token_that_google_forgot_says_so(google: Platform) -> None:
    cursor = cursor_of(google.read_all())
    google.control("POST", f"/calendars/{quote(ANNA)}/expire-sync-tokens", {})

    with pytest.raises(CursorGone):
        google.read_changes(cursor)


@pytest.mark.parametrize("series", ["..", "made-up"])
def test_a_series_that_cannot_be_asked_for_has_everything_read(google: Platform, series: str) -> None:
    cursor = cursor_of(google.read_all())
    row = {"id": "x", "status": "cancelled", "recurringEventId": series}
    page = {"items": [row], "nextSyncToken": cursor}
    google.control("POST", "/faults", {"status": 200, "body": page, "path": "syncToken"})

    with pytest.raises(CursorGone):
        google.read_changes(cursor)


@pytest.mark.parametrize(
    ("fault", "reaction", "counts"),
    [
        ({"status": 403, "reason": "rateLimitExceeded"}, TryLater, False),
        ({"status": 403, "reason": "userRateLimitExceeded"}, TryLater, False),
        ({"status": 403, "reason": "quotaExceeded"}, TryLater, False),
        ({"status": 429, "reason": "rateLimitExceeded"}, TryLater, False),
        ({"status": 503, "reason": "backendError"}, TryLater, True),
        ({"status": 401, "reason": "authError"}, ConsentLost, True),
        ({"status": 403, "reason": "insufficientPermissions"}, ConsentLost, True),
        ({"status": 403, "reason": "accessNotConfigured"}, AuthorizationLost, True),
        ({"status": 404, "reason": "notFound"}, AlreadyGone, True),
        ({"status": 410, "reason": "deleted"}, AlreadyGone, True),
        ({"status": 410, "reason": "fullSyncRequired"}, CursorGone, True),
        ({"kind": "html"}, TryLater, True),
        ({"kind": "html", "status": 404}, TryLater, True),
        ({"kind": "html", "status": 410}, TryLater, True),
        ({"kind": "truncate"}, TryLater, True),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_google_refuses_has_one_reaction(
    google: Platform, fault: dict[str, object], reaction: type[Reaction], *, counts: bool
) -> None:
    google.token()
    primary = google.primary
    google.control("POST", "/faults", {**fault, "path": "/events"})

    with pytest.raises(reaction) as raised:
        list(google.calendars.read_all(google.token(), primary, window(), email=ANNA))

    if isinstance(raised.value, TryLater):
        assert raised.value.counts is counts
    assert type(raised.value) is reaction


@pytest.mark.parametrize("reason", ["ya29.a-token-1", "two words", "x" * 65, "", 17, None])
def test_what_is_no_word_of_googles_is_repeated_nowhere(google: Platform, reason: object) -> None:
    primary = google.primary
    body = {"error": {"errors": [{"reason": reason}], "message": "ya29.a-token-1"}}
    google.control("POST", "/faults", {"status": 400, "path": "/events", "body": body})

    with pytest.raises(Refused) as refused:
        list(google.calendars.read_all(google.token(), primary, window(), email=ANNA))

    assert str(refused.value) == "google list_events: 400"


def test_a_channel_is_opened_and_stopped(google: Platform) -> None:
    channel_id, until = uuid4(), utc_now() + timedelta(days=2)

    opened = google.calendars.open_channel(
        google.token(), google.primary, channel_id=channel_id, secret="s" * 109, until=until
    )

    assert abs(opened.expires_at - until) < timedelta(minutes=1)
    assert google.calendars.renew_channel(google.token(), opened.external_id, until=until) is None
    google.calendars.close_channel(google.token(), channel_id, opened.external_id)
    google.calendars.close_channel(google.token(), channel_id, opened.external_id)
