"""Calendars over HTTP."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.outbox import OutboxEvent
from tests.builders import a_calendar
from tests.webhooks.api.fakes import Api, code_of
from worker import jobs
from worker.calendars import connect
from worker.errors import AuthorizationLost, Refused, TryLater
from worker.ports import FoundCalendar, NewCalendar

ADOPT = {"source": "recall", "external_id": "cal-anna"}


def account(token: str = "anna@example.com:1", **fields: object) -> dict[str, object]:
    return {
        "source": "recall",
        "platform": "google_calendar",
        "oauth_client_id": "client",
        "oauth_client_secret": "hidden-client-secret",
        "oauth_refresh_token": token,
        **fields,
    }


def emitted(api: Api) -> list[str]:
    with api.rt.db.begin() as tx:
        rows = tx.execute(
            select(OutboxEvent.type).order_by(OutboxEvent.created_at, OutboxEvent.sequence)
        )
        return list(rows.scalars())


def test_an_adopted_calendar_is_connecting_and_looked_at(api: Api) -> None:
    response = api.call("POST", "/v1/calendars", ADOPT)

    made = response.json()
    assert response.status_code == 201
    assert (made["external_id"], made["status"]) == ("cal-anna", "connecting")
    assert made["oldest_pending_at"] is not None
    assert (jobs.SYNC_CALENDAR, made["id"]) in api.bell.rings
    assert api.get(f"/v1/calendars/{made['id']}") == made
    assert response.headers["location"] == f"/v1/calendars/{made['id']}"


def test_adopting_a_calendar_twice_is_the_same_calendar(api: Api) -> None:
    first = api.call("POST", "/v1/calendars", ADOPT)
    second = api.call("POST", "/v1/calendars", {**ADOPT, "owner": "anna"})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["owner"] == "anna"


def test_the_spelling_of_a_recall_id_does_not_matter(api: Api) -> None:
    external_id = uuid4()

    first = api.call("POST", "/v1/calendars", {**ADOPT, "external_id": str(external_id)})
    second = api.call("POST", "/v1/calendars", {**ADOPT, "external_id": str(external_id).upper()})

    assert second.json()["id"] == first.json()["id"]


def test_a_connected_account_exists_at_recall_and_its_secrets_nowhere_else(api: Api) -> None:
    response = api.call("POST", "/v1/calendars", account(email="anna@example.com", owner="u1"))

    assert response.status_code == 201
    assert list(api.recall.tokens.values()) == ["anna@example.com:1"]
    assert "hidden-client-secret" not in response.text
    assert response.json()["platform"] == "google_calendar"


@pytest.mark.parametrize("email", ["anna@example.com", "Anna@Example.COM", None])
def test_the_same_account_twice_is_the_same_calendar_with_the_newer_token(
    api: Api, email: str | None
) -> None:
    known = {} if email is None else {"email": email}
    first = api.call("POST", "/v1/calendars", account("anna@example.com:1", email="anna@example.com"))
    second = api.call("POST", "/v1/calendars", account("anna@example.com:2", **known))

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert api.recall.tokens[first.json()["external_id"]] == "anna@example.com:2"
    assert len(list(api.recall.calendars())) == 1
    assert len(api.get("/v1/calendars")["data"]) == 1


def test_the_same_account_again_and_again_stays_one_calendar(api: Api) -> None:
    ids = {
        api.call("POST", "/v1/calendars", account(f"anna@example.com:{token}")).json()["id"]
        for token in (1, 2, 2, 2, 1)
    }

    assert len(ids) == 1
    assert len(list(api.recall.calendars())) == 1
    assert emitted(api).count("calendar.deleted") == 0


def test_an_account_whose_address_stays_unknown_is_connected_all_the_same(api: Api) -> None:
    api.recall.looks_until_known = 1_000
    a_calendar(api.rt.db, "cal-ben")
    waits: list[float] = []

    new = NewCalendar("google_calendar", "client", "secret", "anna@example.com:1")
    view, is_new = connect(api.rt, new, wait=waits.append)

    assert (is_new, view["email"]) == (True, None)
    assert sum(waits) <= 5.01


def test_an_account_that_recall_knows_already_is_not_connected_again(api: Api) -> None:
    api.recall.put_calendar("theirs", email="anna@example.com")

    response = api.call("POST", "/v1/calendars", account(email="anna@example.com"))

    assert response.json()["external_id"] == "theirs"
    assert "connect" not in api.recall.calls


def test_two_accounts_are_two_calendars(api: Api) -> None:
    anna = api.call("POST", "/v1/calendars", account("anna@example.com:1"))
    ben = api.call("POST", "/v1/calendars", account("ben@example.com:1"))

    assert anna.json()["id"] != ben.json()["id"]
    assert ben.json()["email"] == "ben@example.com"


def test_a_calendar_that_disappeared_at_recall_is_connected_anew(api: Api) -> None:
    a_calendar(api.rt.db, "lost", email="anna@example.com")

    response = api.call("POST", "/v1/calendars", account(email="anna@example.com"))

    assert response.status_code == 201
    assert response.json()["external_id"] != "lost"


def test_an_account_can_be_connected_again_right_after_it_was_removed(api: Api) -> None:
    first = api.call("POST", "/v1/calendars", account(email="anna@example.com"))
    api.call("DELETE", f"/v1/calendars/{first.json()['id']}")

    second = api.call("POST", "/v1/calendars", account(email="anna@example.com"))

    assert second.status_code == 201
    assert second.json()["external_id"] != first.json()["external_id"]


def test_a_new_status_is_told_once(api: Api) -> None:
    api.recall.put_calendar("theirs", email="anna@example.com", status="connected")
    a_calendar(api.rt.db, "theirs", email="anna@example.com", status="needs_reauth")

    response = api.call("POST", "/v1/calendars", account(email="anna@example.com"))

    assert response.json()["status"] == "connecting"  # what Recall answers to new credentials
    assert emitted(api) == []


def test_without_a_recall_key_nothing_can_be_connected(api: Api) -> None:
    api.restart(recall=None)

    response = api.call("POST", "/v1/calendars", account())

    assert (response.status_code, code_of(response)) == (409, "provider_not_configured")


@pytest.mark.parametrize(
    ("reaction", "status", "code"),
    [
        (TryLater("busy"), 503, "provider_unavailable"),
        (AuthorizationLost("401"), 502, "provider_rejected_us"),
        (Refused("connect: 400"), 422, "provider_refused"),
    ],
)
def test_a_provider_that_says_no_is_told_apart(
    api: Api, reaction: TryLater | AuthorizationLost | Refused, status: int, code: str
) -> None:
    api.recall.fail(reaction)

    response = api.call("POST", "/v1/calendars", account())

    assert (response.status_code, code_of(response)) == (status, code)
    assert api.get("/v1/calendars")["data"] == []


def test_what_is_ours_about_a_calendar_can_be_changed(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db)
    path = f"/v1/calendars/{calendar_id}"

    api.call("PATCH", path, {"owner": "anna", "metadata": {"plan": ["pro", 1]}, "paused": True})
    changed = api.call("PATCH", path, {"owner": None})

    assert changed.status_code == 200
    assert changed.json()["owner"] is None
    assert changed.json()["metadata"] == {"plan": ["pro", 1]}
    assert changed.json()["paused"] is True


def test_pausing_a_calendar_takes_its_bots_away_and_resuming_brings_them_back(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db, rules={"select": ["all"]})
    event_id = api.store_event()
    reasons = []

    for paused in (False, True, False):
        api.call("PATCH", f"/v1/calendars/{calendar_id}", {"paused": paused})
        api.settle()
        reasons.append(api.get(f"/v1/events/{event_id}")["record"]["reason"])

    assert reasons == ["recorded", "paused", "recorded"]


def test_a_removed_calendar_is_gone_everywhere_and_its_events_are_not_recorded(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db, rules={"select": ["all"]})
    api.recall.put_calendar("cal-anna")
    event_id = api.store_event()
    api.settle()

    response = api.call("DELETE", f"/v1/calendars/{calendar_id}")
    api.settle()

    assert (response.status_code, response.content) == (204, b"")
    assert list(api.recall.calendars()) == []
    assert code_of(api.call("GET", f"/v1/calendars/{calendar_id}")) == "not_found"
    assert code_of(api.call("DELETE", f"/v1/calendars/{calendar_id}")) == "not_found"
    assert code_of(api.call("PATCH", f"/v1/calendars/{calendar_id}", {"owner": "x"})) == "not_found"
    assert code_of(api.call("POST", f"/v1/calendars/{calendar_id}/sync")) == "not_found"
    assert code_of(api.call("GET", f"/v1/calendars/{calendar_id}/rules")) == "not_found"
    assert code_of(api.call("PUT", f"/v1/calendars/{calendar_id}/rules", {})) == "not_found"
    assert api.get("/v1/calendars")["data"] == []
    assert api.get(f"/v1/events/{event_id}")["record"]["reason"] == "disconnected"
    assert "calendar.deleted" in emitted(api)


def test_a_calendar_stays_while_recall_cannot_be_reached(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db)
    api.recall.fail(TryLater("busy"))

    response = api.call("DELETE", f"/v1/calendars/{calendar_id}")

    assert (response.status_code, code_of(response)) == (503, "provider_unavailable")
    assert api.get(f"/v1/calendars/{calendar_id}")["status"] == "connected"


def test_a_removed_calendar_can_be_adopted_again(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db)
    api.call("DELETE", f"/v1/calendars/{calendar_id}")

    response = api.call("POST", "/v1/calendars", ADOPT)

    assert response.status_code == 201
    assert (response.json()["id"], response.json()["status"]) == (str(calendar_id), "connecting")


def test_looking_again_asks_for_everything_and_revives_what_was_parked(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db, parked_at=api.clock.at, tries=20)

    response = api.call("POST", f"/v1/calendars/{calendar_id}/sync")

    assert response.status_code == 202
    with api.rt.db.begin() as tx:
        row = tx.execute(select(table_of(Calendar))).mappings().one()
    assert (row["needs_check"], row["needs_full"], row["parked_at"]) == (True, True, None)
    assert row["wanted"] > row["done"]
    assert (jobs.SYNC_CALENDAR, str(calendar_id)) in api.bell.rings


def test_calendars_are_listed_page_by_page_while_others_come(api: Api) -> None:
    ids = [str(a_calendar(api.rt.db, f"cal-{number}")) for number in range(5)]

    first = api.get("/v1/calendars?limit=2")
    late = str(a_calendar(api.rt.db, "cal-late"))
    second = api.get("/v1/calendars", params={"limit": "2", "cursor": first["next"]})
    third = api.get("/v1/calendars", params={"limit": "3", "cursor": second["next"]})

    listed = [calendar["id"] for page in (first, second, third) for calendar in page["data"]]
    assert listed == [*ids, late][: len(listed)]
    assert len(listed) >= 5


def test_calendars_can_be_looked_up(api: Api) -> None:
    anna = a_calendar(api.rt.db, "cal-anna", owner="u1")
    a_calendar(api.rt.db, "cal-ben", owner="u2", status="needs_reauth")

    for filtered in ("owner=u1", "status=connected", "email=anna@example.com", "external_id=cal-anna"):
        assert [one["id"] for one in api.get(f"/v1/calendars?{filtered}")["data"]] == [str(anna)]


@pytest.mark.parametrize("email", [{"email": "anna@example.com"}, {}], ids=["named", "learnt"])
def test_one_account_connected_twice_at_once_is_one_calendar(
    api: Api, email: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the first has been created at Recall but is not stored here."""
    made: list[str] = []
    create = api.recall.connect
    first, second = (
        NewCalendar("google_calendar", "client", "secret", f"anna@example.com:{n}", **email)
        for n in (1, 2)
    )

    def connect_beside(new: NewCalendar, *, key: UUID) -> FoundCalendar:
        found = create(new, key=key)
        if new is first:
            view, _ = connect(api.rt, second, wait=lambda _: None)
            made.append(view["id"])
        return found

    monkeypatch.setattr(
        type(api.recall), "connect", lambda _self, new, *, key: connect_beside(new, key=key)
    )

    view, _ = connect(api.rt, first, wait=lambda _: None)

    assert [view["id"]] == made
    assert len(api.recall.tokens.keys() & {found.external_id for found in api.recall.calendars()}) == 1
    with api.rt.db.begin() as tx:
        live = select(table_of(Calendar).c.id).where(table_of(Calendar).c.deleted_at.is_(None))
        assert len(tx.execute(live).all()) == 1
