"""A POST that is sent twice under one key is carried out once (row A8)."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text, update

from models.tables.access import IdempotentRequest
from models.tables.due import table_of
from tests.builders import a_calendar
from tests.webhooks.api.fakes import Api, code_of
from worker.access import Opened, Scope, find_caller, forget_requests, open_request
from worker.errors import TryLater

REQUESTS = table_of(IdempotentRequest)
WANTED = {"name": "ci"}


def age(api: Api, by: timedelta) -> None:
    with api.rt.db.begin() as tx:
        tx.execute(update(REQUESTS).values(created_at=REQUESTS.c.created_at - by))


def remembered(api: Api) -> int:
    with api.rt.db.begin() as tx:
        return int(tx.execute(select(func.count()).select_from(REQUESTS)).scalar_one())


def test_the_first_answer_is_given_again(api: Api) -> None:
    first = api.call("POST", "/v1/api-keys", WANTED, repeat="k1")
    second = api.call("POST", "/v1/api-keys", {"name": "ci"}, repeat="k1")

    assert second.json() == first.json()
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.headers["idempotency-replayed"] == "true"
    assert len(api.get("/v1/api-keys")["data"]) == 2


def test_an_answer_with_a_secret_is_sealed(api: Api) -> None:
    key = api.call("POST", "/v1/api-keys", WANTED, repeat="k1").json()["key"]

    with api.rt.db.begin() as tx:
        (answer,) = tx.execute(select(REQUESTS.c.answer)).scalars()

    assert key.encode() not in answer


def test_an_empty_answer_and_a_problem_are_given_again_too(api: Api) -> None:
    path = f"/v1/calendars/{uuid4()}/sync"

    first = api.call("POST", path, repeat="k1")
    second = api.call("POST", path, repeat="k1")

    assert (first.status_code, second.status_code) == (404, 404)
    assert second.json() == first.json()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/api-keys", {"name": "other"}),
        ("/v1/calendars", {"source": "recall", "external_id": "x"}),
    ],
)
def test_another_request_under_the_same_key_is_refused(
    api: Api, path: str, body: dict[str, object]
) -> None:
    api.call("POST", "/v1/api-keys", WANTED, repeat="k1")

    response = api.call("POST", path, body, repeat="k1")

    assert (response.status_code, code_of(response)) == (422, "idempotency_key_reused")


def test_each_caller_has_keys_of_his_own(api: Api) -> None:
    other = api.make_key(Scope.ADMIN)

    mine = api.call("POST", "/v1/api-keys", WANTED, repeat="k1").json()
    theirs = api.call("POST", "/v1/api-keys", WANTED, repeat="k1", key=other).json()

    assert mine["id"] != theirs["id"]


@pytest.mark.parametrize("key", ["x" * 256, "", "two words", "caf\u00e9"])
def test_a_key_that_cannot_be_used_is_refused(api: Api, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}

    response = api.call("POST", "/v1/api-keys", WANTED, headers=headers)  # type: ignore[arg-type]  # bytes

    assert (response.status_code, code_of(response)) == (400, "invalid_idempotency_key")


def test_the_longest_key_can_be_used(api: Api) -> None:
    assert api.call("POST", "/v1/api-keys", WANTED, repeat="x" * 255).status_code == 201


def test_a_request_still_being_carried_out_is_not_carried_out_again(api: Api) -> None:
    answers = api.at_once(
        *[lambda: api.call("POST", "/v1/api-keys", WANTED, repeat="k1") for _ in range(5)]
    )

    statuses = [response.status_code for response in answers]
    assert set(statuses) <= {201, 409}
    assert len({response.json()["id"] for response in answers if response.status_code == 201}) == 1
    assert len(api.get("/v1/api-keys")["data"]) == 2


def test_a_request_whose_process_died_can_be_repeated_after_two_minutes(api: Api) -> None:
    api.call("POST", "/v1/api-keys", WANTED, repeat="k1")
    with api.rt.db.begin() as tx:
        tx.execute(update(REQUESTS).values(status=None, answer=None))

    too_soon = api.call("POST", "/v1/api-keys", WANTED, repeat="k1")
    age(api, timedelta(minutes=3))
    later = api.call("POST", "/v1/api-keys", WANTED, repeat="k1")

    assert (too_soon.status_code, code_of(too_soon)) == (409, "request_in_flight")
    assert later.status_code == 201


def test_an_answer_is_forgotten_after_a_day(api: Api) -> None:
    first = api.call("POST", "/v1/api-keys", WANTED, repeat="k1").json()
    age(api, timedelta(hours=25))

    second = api.call("POST", "/v1/api-keys", WANTED, repeat="k1").json()
    age(api, timedelta(hours=25))
    with api.rt.db.begin() as tx:
        forgotten = forget_requests(tx)

    assert second["id"] != first["id"]
    assert (forgotten, remembered(api)) == (1, 0)


def test_what_failed_for_a_passing_reason_can_be_tried_again_at_once(api: Api) -> None:
    wanted = {
        "source": "recall",
        "platform": "google_calendar",
        "oauth_client_id": "c",
        "oauth_client_secret": "s",
        "oauth_refresh_token": "anna@example.com:1",
    }
    api.recall.fail(TryLater("busy"))

    first = api.call("POST", "/v1/calendars", wanted, repeat="k1")
    second = api.call("POST", "/v1/calendars", wanted, repeat="k1")

    assert (first.status_code, second.status_code) == (503, 201)


def test_a_request_that_is_misshapen_does_not_use_up_its_key(api: Api) -> None:
    api.call("POST", "/v1/api-keys", {"nom": "ci"}, repeat="k1")

    assert api.call("POST", "/v1/api-keys", WANTED, repeat="k1").status_code == 201


def test_other_methods_ignore_the_key(api: Api) -> None:
    path = f"/v1/calendars/{a_calendar(api.rt.db)}"

    api.call("PATCH", path, {"owner": "a"}, repeat="k1")
    api.call("PATCH", path, {"owner": "b"}, repeat="k1")

    assert (api.get(path)["owner"], remembered(api)) == ("b", 0)


def test_of_two_processes_one_carries_a_request_out(api: Api) -> None:
    with api.rt.db.begin() as tx:
        caller = find_caller(tx, api.key, now=api.clock.at)
        assert not isinstance(caller, str)
        first = open_request(tx, caller, "k", digest=b"d", vault=api.rt.vault)
        second = open_request(tx, caller, "k", digest=b"d", vault=api.rt.vault)
        other = open_request(tx, caller, "k", digest=b"e", vault=api.rt.vault)
        assert tx.execute(text("SELECT count(*) FROM idempotent_requests")).scalar_one() == 1

    assert (first, second, other) == (Opened.FIRST, Opened.IN_FLIGHT, Opened.DIFFERENT)
