"""Who is let in: keys, scopes, guessing."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select, text

from models.tables.access import ApiKey
from models.tables.due import table_of
from tests.webhooks.api.conformity import document
from tests.webhooks.api.fakes import YESTERDAY, Api, code_of
from webhooks.api.guarding import Guard, Throttle
from webhooks.api.operations import Operation
from webhooks.api.problems import Problem
from webhooks.api.table import OPERATIONS
from worker.access import Scope, ensure_admin_key

LESSER = {Scope.READ: None, Scope.WRITE: Scope.READ, Scope.ADMIN: Scope.WRITE}


def path_of(operation: Operation) -> str:
    return operation.path.replace("{id}", str(uuid4()))


def test_nobody_gets_in_anywhere_without_a_valid_key(api: Api) -> None:
    api.store_key("expired-key-of-thirty-characters", expires_at=YESTERDAY)
    api.store_key("revoked-key-of-thirty-characters", revoked_at=YESTERDAY)

    for operation in OPERATIONS:
        api.restart()  # forgets the failures so far
        method, path = operation.method, path_of(operation)
        refused = [
            api.call(method, path, key=None),
            api.call(method, path, key="pk_wrong"),
            api.call(method, path, key=api.key[:10]),
            api.call(method, path, key="x" * 1_000_000),
            api.call(method, path, key="expired-key-of-thirty-characters"),
            api.call(method, path, key="revoked-key-of-thirty-characters"),
            api.call(method, path, key=None, headers={"Authorization": f"Basic {api.key}"}),
            api.call(method, path, key=None, headers={"Authorization": f"Bearer {api.key} {api.key}"}),
            api.call(method, path, key=None, headers={"X-Api-Key": api.key}),
        ]

        told = [{**response.json(), "request_id": ""} for response in refused]
        challenges = {response.headers["www-authenticate"] for response in refused}
        assert {response.status_code for response in refused} == {401}
        assert challenges == {'Bearer realm="punctual"'}
        assert all(problem == told[0] for problem in told)


def test_a_key_does_what_its_scope_covers_and_no_more(api: Api) -> None:
    keys = {scope: api.make_key(scope) for scope in Scope} | {None: api.make_key()}

    for operation in OPERATIONS:
        method, path = operation.method, path_of(operation)
        fitting = api.call(method, path, key=keys[operation.scope])
        lacking = api.call(method, path, key=keys[LESSER[operation.scope]])

        assert fitting.status_code not in {401, 403}
        assert (lacking.status_code, code_of(lacking)) == (403, "forbidden")
        assert f'scope="{operation.scope}"' in lacking.headers["www-authenticate"]


def test_the_scheme_is_not_case_sensitive(api: Api) -> None:
    response = api.call(
        "GET", "/v1/calendars", key=None, headers={"Authorization": f"bearer  {api.key}"}
    )

    assert response.status_code == 200


def test_the_database_knows_no_key(api: Api) -> None:
    made = api.call("POST", "/v1/api-keys", {"name": "ci"}).json()["key"]

    with api.rt.db.begin() as tx:
        stored = str(tx.execute(text("SELECT * FROM api_keys")).all())

    assert made not in stored
    assert made[:10] in stored


def test_a_key_is_shown_once_and_works_until_it_is_revoked(api: Api) -> None:
    made = api.call("POST", "/v1/api-keys", {"name": "ci", "scopes": ["read"]})
    key, key_id = made.json()["key"], made.json()["id"]

    used = api.call("GET", "/v1/calendars", key=key)
    revoked = api.call("DELETE", f"/v1/api-keys/{key_id}")
    after = api.call("GET", "/v1/calendars", key=key)

    assert (made.status_code, used.status_code, revoked.status_code, after.status_code) == (
        201,
        200,
        204,
        401,
    )
    assert key not in api.call("GET", "/v1/api-keys").text
    assert code_of(api.call("DELETE", f"/v1/api-keys/{key_id}")) == "not_found"


def test_a_key_expires(api: Api) -> None:
    wanted = {"name": "ci", "expires_at": "2026-11-22T13:00:00+00:00"}
    key = api.call("POST", "/v1/api-keys", wanted).json()["key"]
    before = api.call("GET", "/v1/calendars", key=key)

    api.clock.at += timedelta(hours=2)

    assert (before.status_code, api.call("GET", "/v1/calendars", key=key).status_code) == (200, 401)


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "tomorrow"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "PUNCTUAL_ADMIN_API_KEY"},
        {"name": "two\nlines"},
        {"name": "\u202eevil"},
        {"name": "x" * 201},
        {"scopes": ["read"]},
    ],
)
def test_an_odd_key_is_not_made(api: Api, wanted: dict[str, object]) -> None:
    response = api.call("POST", "/v1/api-keys", wanted)

    assert (response.status_code, code_of(response)) == (422, "invalid_request")


def test_nobody_locks_himself_out(api: Api) -> None:
    (own,) = api.get("/v1/api-keys")["data"]

    response = api.call("DELETE", f"/v1/api-keys/{own['id']}")

    assert (response.status_code, code_of(response)) == (409, "conflict")


def test_the_use_of_a_key_is_noted_at_most_once_a_minute(api: Api) -> None:
    noted = []
    for seconds in (0, 30, 30):
        api.clock.at += timedelta(seconds=seconds)
        api.call("GET", "/v1/bots")
        with api.rt.db.begin() as tx:
            noted.append(tx.execute(select(table_of(ApiKey).c.last_used_at)).scalar_one())

    assert noted[0] == noted[1]
    assert noted[2] == noted[0] + timedelta(minutes=1)


def test_guessing_keys_is_slowed_down(api: Api) -> None:
    statuses = [
        api.call("GET", "/v1/bots", key=f"pk_guess{number}").status_code for number in range(60)
    ]

    blocked = api.call("GET", "/v1/bots", key="pk_guess")

    assert statuses[0] == 401
    assert set(statuses[40:]) == {429}
    assert code_of(blocked) == "too_many_failures"
    assert 0 < int(blocked.headers["retry-after"]) <= 60


def test_a_caller_who_was_let_in_before_stays_in_while_others_guess(api: Api) -> None:
    api.call("GET", "/v1/bots")
    for number in range(60):
        api.call("GET", "/v1/bots", key=f"pk_guess{number}")

    assert api.call("GET", "/v1/bots").status_code == 200
    assert api.call("GET", "/v1/bots", key="pk_guess").status_code == 429


def test_one_wrong_key_is_a_mistake_before_it_is_an_attack(api: Api) -> None:
    statuses = [api.call("GET", "/v1/bots", key="pk_wrong").status_code for _ in range(200)]

    assert set(statuses[:150]) == {401}
    assert statuses[-1] == 429


def test_a_blocked_address_is_heard_again_after_a_minute(api: Api) -> None:
    at = [0.0]
    guard = Guard(api.rt, Throttle(clock=lambda: at[0]))

    def code(key: str, client: str = "192.0.2.1") -> str:
        try:
            guard.admit([f"Bearer {key}"], client)
        except Problem as problem:
            return problem.code
        return "admitted"

    for number in range(40):
        code(f"pk_{number}")
    while_blocked, elsewhere = code("pk_x"), code("pk_x", "192.0.2.2")
    at[0] = 61.0

    assert (while_blocked, elsewhere, code("pk_x")) == (
        "too_many_failures",
        "unauthorized",
        "unauthorized",
    )


def test_one_ipv6_network_is_one_guesser(api: Api) -> None:
    guard = Guard(api.rt)
    codes = []
    for number in range(40):
        with pytest.raises(Problem) as caught:
            guard.admit([f"Bearer pk_{number}"], f"2001:db8::{number:x}")
        codes.append(caught.value.code)

    assert codes[-1] == "too_many_failures"


def test_the_settings_key_is_kept_and_its_predecessor_is_not(db: Engine, api: Api) -> None:
    for key in ("first-admin-key-of-the-settings", "second-admin-key-of-the-settings"):
        for _ in range(2):
            with db.begin() as tx:
                ensure_admin_key(tx, key)

    assert api.call("GET", "/v1/api-keys", key="second-admin-key-of-the-settings").status_code == 200
    assert api.call("GET", "/v1/api-keys", key="first-admin-key-of-the-settings").status_code == 401


def test_every_operation_names_its_scope() -> None:
    for methods in document()["paths"].values():
        for operation in methods.values():
            ((scope,),) = [next(iter(part.values())) for part in operation["security"]]
            assert f"`{scope}`" in operation["description"]
