"""Calendars as Recall describes them: what they are, why they were lost, and no credentials."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.contracts.sources import NEW
from tests.providers.recall.scripted import ok, page, saying
from worker.errors import Reaction, TryLater
from worker.ports import FoundCalendar
from worker.providers.recall import RecallSource
from worker.providers.recall.calendars import LONGEST_REASON_CHARS, read_calendar

UUID_3 = UUID(int=3)
TOKEN = "1//0gAbCdEfGhIjKlMnOpQrStUvWxYz-0123456789_abcdef"

CALENDAR: dict[str, Any] = {
    "id": "c1",
    "platform": "google_calendar",
    "oauth_client_id": "client",
    "oauth_client_secret": "GOCSPX-secret",
    "oauth_refresh_token": TOKEN,
    "oauth_email": None,
    "platform_email": "Anna@Acme.test",
    "status": "connected",
    "status_changes": [],
}


def read(**changes: Any) -> FoundCalendar:
    return read_calendar({**CALENDAR, **changes}, "c1")


def lost(*changes: object) -> FoundCalendar:
    return read(status="disconnected", status_changes=list(changes))


def test_a_calendar_is_read() -> None:
    assert read() == FoundCalendar("c1", "google_calendar", "anna@acme.test", "connected")


@pytest.mark.parametrize(
    ("changes", "email"),
    [
        ({"platform_email": None}, None),
        ({"platform_email": None, "oauth_email": "ben@acme.test"}, "ben@acme.test"),
        ({"platform_email": 7, "oauth_email": ["x"]}, None),
        ({"platform_email": "no address"}, None),
    ],
)
def test_the_address_is_what_recall_found_or_was_told(
    changes: dict[str, object], email: str | None
) -> None:
    assert read(**changes).email == email


@pytest.mark.parametrize("status", ["reconnecting", "", None, 7, {}])
def test_an_unknown_status_is_looked_at_again(status: object) -> None:
    assert read(status=status).status == "connecting"


@pytest.mark.parametrize(
    "details",
    [
        {"reason": "invalid_grant"},
        {"message": "invalid_scope(detail: None of the supported calendar scopes(...) present)"},
        {"error": {"code": "AADSTS7000215", "description": "Invalid client secret provided"}},
        {"errors": ["The refresh token has been revoked."]},
        {"sub_code": "unauthorized_client"},
        {"detail": {"inner": [{"text": "consent_required"}]}},
        {"http": "401 Unauthorized"},
    ],
)
def test_lost_credentials_are_recognised_under_any_name(details: dict[str, object]) -> None:
    found = lost({"status": "disconnected", "created_at": "2026-11-21T12:00:00Z", **details})

    assert found.status == "needs_reauth"
    assert found.reason


@pytest.mark.parametrize(
    "details",
    [{}, {"reason": None}, {"reason": ""}, {"reason": 7}, {"reason": "mailbox moved"}, {"id": "token"}],
)
def test_other_losses_are_plain_ones(details: dict[str, object]) -> None:
    found = lost({"status": "disconnected", "created_at": "2026-11-21T12:00:00Z", **details})

    assert found.status == "disconnected"


@pytest.mark.parametrize("changes", [None, [], {}, "x", [None, 7, "x"], [{"status": "connected"}]])
def test_a_loss_without_a_history_has_no_reason(changes: object) -> None:
    found = read(status="disconnected", status_changes=changes)

    assert (found.status, found.reason) == ("disconnected", None)


def test_the_newest_loss_tells_the_reason() -> None:
    old = {"status": "disconnected", "created_at": "2026-11-20T00:00:00Z", "reason": "invalid_grant"}
    new = {"status": "disconnected", "created_at": "2026-11-21T00:00:00Z", "reason": "mailbox moved"}
    between = {"status": "connected", "created_at": "2026-11-20T12:00:00Z"}

    for history in ([old, between, new], [new, between, old]):
        assert lost(*history) == FoundCalendar(
            "c1", "google_calendar", "anna@acme.test", "disconnected", "mailbox moved"
        )


def test_a_calendar_that_came_back_has_no_reason() -> None:
    history = [
        {"status": "disconnected", "created_at": "2026-11-20T00:00:00Z", "reason": "invalid_grant"}
    ]

    assert read(status="connected", status_changes=history).reason is None


def test_a_reason_is_short_printable_and_without_tokens() -> None:
    said = f"invalid_grant:\n\0\x1b[31m token {TOKEN} was \ud800 refused " + "because " * 200

    reason = lost({"status": "disconnected", "reason": said}).reason

    assert reason is not None
    assert TOKEN not in reason
    assert len(reason) <= LONGEST_REASON_CHARS
    assert reason.isprintable()
    assert reason.startswith("invalid_grant: [31m token ••• was refused because")


def test_the_documented_reason_stays_readable() -> None:
    said = (
        "invalid_scope(detail: None of the supported calendar scopes(["
        "https://www.googleapis.com/auth/calendar.events.readonly]) present in response)"
    )

    assert lost({"status": "disconnected", "reason": said}).reason == said


def test_no_answer_shows_its_credentials() -> None:
    with saying(ok(CALENDAR, 201)) as recall:
        found = RecallSource(recall.client, email_of=lambda _: None).connect(NEW, key=UUID_3)

        assert "GOCSPX" not in repr(found)
        assert TOKEN not in repr(found)
        assert recall.requests[0].headers["idempotency-key"] == str(UUID_3)


def test_rows_that_are_no_calendars_are_left_out() -> None:
    rows = [None, 7, {}, {"id": 7}, {"id": "../x"}, CALENDAR, CALENDAR, {**CALENDAR, "id": "c2"}]

    with saying(page(*rows)) as recall:
        found = list(RecallSource(recall.client, email_of=lambda _: None).calendars())

    assert [calendar.external_id for calendar in found] == ["c1", "c2"]


@pytest.mark.parametrize("body", [None, {}, [], {"id": None}, {"id": 7}])
def test_a_connection_without_an_id_is_an_unknown_outcome(body: object) -> None:
    with saying(ok(body, 201)) as recall, pytest.raises(TryLater) as raised:
        RecallSource(recall.client, email_of=lambda _: None).connect(NEW, key=UUID_3)

    assert not raised.value.is_definite


def test_a_reconnection_sends_new_credentials_only() -> None:
    with saying(ok(CALENDAR)) as recall:
        RecallSource(recall.client, email_of=lambda _: None).reconnect("c1", NEW)

        (told,) = recall.told
        assert "platform" not in told
        assert told["oauth_refresh_token"] == "a-refresh-token"


def test_a_failed_connection_says_nothing_of_its_credentials() -> None:
    refused = ok({"oauth_refresh_token": ["a-refresh-token is no token"]}, 400)

    with saying(refused) as recall, pytest.raises(Reaction) as raised:
        RecallSource(recall.client, email_of=lambda _: None).connect(NEW, key=UUID_3)

    assert "a-refresh-token" not in str(raised.value)
