"""/v1/api-keys: who may use this API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Fault, Problem
from webhooks.api.shapes import Id, Instant, Line, Listing, Shape, Time
from worker import access
from worker.access import Scope

TAG = "API keys"
ScopeName = Literal["read", "write", "admin"]


class ApiKey(Shape):
    """A key; the key itself was shown once."""

    id: Id
    name: str
    prefix: Annotated[str, Field(description="How the key begins, to recognise it.")]
    scopes: list[ScopeName]
    expires_at: Time | None
    last_used_at: Annotated[Time | None, Field(description="To the minute.")]
    created_at: Time


class NewApiKey(ApiKey):
    """A key with the key itself, shown this once."""

    key: str


class ApiKeyPage(Shape):
    """A page of keys, oldest first."""

    data: list[ApiKey]
    next: str | None


class ApiKeyWanted(Shape):
    """A key to make. `write` includes `read`, `admin` includes both."""

    name: Line
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=3)] = Field(default=["read"])
    expires_at: Annotated[Instant | None, Field(description="In the future; null: never.")] = None


@route(
    "GET",
    "/v1/api-keys",
    Scope.ADMIN,
    tag=TAG,
    summary="List API keys",
    query=Listing,
    response=ApiKeyPage,
)
def list_api_keys(call: Call) -> Answer:
    """Oldest first; revoked keys are left out."""
    after = call.after
    with call.rt.db.begin() as tx:
        return call.page(access.list_keys(tx, after=after, limit=call.fetch))


@route(
    "POST",
    "/v1/api-keys",
    Scope.ADMIN,
    tag=TAG,
    summary="Make an API key",
    body=ApiKeyWanted,
    response=NewApiKey,
    status=201,
)
def make_api_key(call: Call) -> Answer:
    """The key is shown in this answer and never again; only its SHA-256 is kept."""
    wanted = call.body_as(ApiKeyWanted)
    if wanted.expires_at is not None and wanted.expires_at <= call.rt.now():
        raise Problem("invalid_request", faults=[Fault("body.expires_at", "must be in the future")])
    if wanted.name == access.ADMIN_KEY_NAME:
        raise Problem(
            "invalid_request", faults=[Fault("body.name", "is the name of the settings' key")]
        )
    with call.rt.db.begin() as tx:
        made = access.make_key(
            tx,
            wanted.name,
            frozenset(Scope(scope) for scope in wanted.scopes),
            expires_at=wanted.expires_at,
        )
    return Answer(made)


@route(
    "DELETE",
    "/v1/api-keys/{id}",
    Scope.ADMIN,
    tag=TAG,
    summary="Revoke an API key",
    response=None,
    status=204,
    problems=("not_found", "conflict"),
)
def revoke_api_key(call: Call) -> Answer:
    """From the next request on it is refused. A key cannot revoke itself: nobody locks himself out."""
    if call.id == call.caller.key_id:
        raise Problem("conflict", "a key cannot revoke itself; use another one with the scope `admin`")
    with call.rt.db.begin() as tx:
        if not access.revoke_key(tx, call.id):
            raise Problem("not_found")
    return Answer()


OPERATIONS = (list_api_keys, make_api_key, revoke_api_key)
