"""/v1/calendars: adopt or connect, list, change, remove, look again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Problem
from webhooks.api.rulesets import RuleSetShape
from webhooks.api.shapes import Id, Line, Listing, LongLine, Metadata, Shape, Time, parse_uuid
from worker import calendars
from worker.access import Scope
from worker.ports import NewCalendar

TAG = "Calendars"
Status = Literal["connecting", "connected", "needs_reauth", "disconnected"]
Platform = Literal["google_calendar", "microsoft_outlook"]


class Calendar(Shape):
    """A calendar whose events are followed."""

    id: Id
    source: str
    external_id: Annotated[str, Field(description="Its id at the provider.")]
    connection_id: Annotated[
        Id | None, Field(description="The connected account we read it with; null: Recall reads it.")
    ]
    platform: str | None
    email: str | None
    owner: Annotated[str | None, Field(description="Whose it is in your words, such as a user id.")]
    status: Status
    status_reason: str | None
    paused: Annotated[bool, Field(description="While true, nothing of it is recorded.")]
    rules: Annotated[
        RuleSetShape | None, Field(description="Its own rules; null: it follows the installation's.")
    ]
    last_synced_at: Time | None
    oldest_pending_at: Annotated[
        Time | None,
        Field(description="Since when a change waits to be looked at; null: nothing waits."),
    ]
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time


class CalendarPage(Shape):
    """A page of calendars, oldest first."""

    data: list[Calendar]
    next: str | None


class CalendarQuery(Listing):
    """Filters are exact."""

    status: Status | None = None
    owner: Line | None = None
    email: Line | None = None
    external_id: Line | None = None


class AdoptCalendar(Shape):
    """A calendar that exists at Recall."""

    source: Literal["recall"]
    external_id: Annotated[Line, Field(description="Recall's calendar id.")]
    owner: Line | None = None
    metadata: Metadata | None = None


class ConnectCalendar(Shape):
    """An account to connect at Recall. The credentials go to Recall and are not kept here."""

    source: Literal["recall"]
    platform: Platform
    oauth_client_id: LongLine
    oauth_client_secret: Annotated[LongLine, Field(repr=False)]
    oauth_refresh_token: Annotated[LongLine, Field(repr=False)]
    email: Annotated[
        Line | None,
        Field(
            pattern=r"^[^@\s]+@[^@\s]+$",
            description="The account's address. An account that has a calendar already keeps it; without"
            " the address, finding that out can take the request up to 5 s.",
        ),
    ] = None
    owner: Line | None = None
    metadata: Metadata | None = None


def _kind(value: object) -> str:
    return "adopt" if isinstance(value, dict) and "external_id" in value else "connect"


class NewCalendarBody(
    RootModel[
        Annotated[
            Annotated[AdoptCalendar, Tag("adopt")] | Annotated[ConnectCalendar, Tag("connect")],
            Discriminator(_kind),
        ]
    ]
):
    """A calendar to adopt, or an account to connect."""


class CalendarChange(Shape):
    """What to change; absent fields stay."""

    owner: Line | None = None
    metadata: Annotated[Metadata, Field(default_factory=dict)]
    paused: Annotated[bool, Field(default_factory=bool)]


@route(
    "GET",
    "/v1/calendars",
    Scope.READ,
    tag=TAG,
    summary="List calendars",
    query=CalendarQuery,
    response=CalendarPage,
)
def list_calendars(call: Call) -> Answer:
    """Oldest first; deleted calendars are left out."""
    matching = call.query_as(CalendarQuery).model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    after = call.after
    with call.rt.db.begin() as tx:
        return call.page(calendars.list_calendars(tx, after=after, limit=call.fetch, matching=matching))


@route(
    "POST",
    "/v1/calendars",
    Scope.WRITE,
    tag=TAG,
    summary="Adopt or connect a calendar",
    body=NewCalendarBody,
    response=Calendar,
    status=201,
    also={200: "The account or calendar is known already; its credentials were updated."},
    problems=(
        "provider_not_configured",
        "provider_refused",
        "provider_rejected_us",
        "provider_unavailable",
        "conflict",
    ),
)
def add_calendar(call: Call) -> Answer:
    """The same account twice is the same calendar, with the newer credentials; never two."""
    wanted = call.body_as(NewCalendarBody).root
    if isinstance(wanted, AdoptCalendar):
        known = parse_uuid(wanted.external_id)
        view, is_new = calendars.adopt(
            call.rt,
            wanted.external_id if known is None else str(known),
            owner=wanted.owner,
            metadata=wanted.metadata,
        )
    else:
        new = NewCalendar(
            platform=wanted.platform,
            oauth_client_id=wanted.oauth_client_id,
            oauth_client_secret=wanted.oauth_client_secret,
            oauth_refresh_token=wanted.oauth_refresh_token,
            email=wanted.email,
        )
        view, is_new = calendars.connect(call.rt, new, owner=wanted.owner, metadata=wanted.metadata)
    return Answer(
        view, status=201 if is_new else 200, headers={"Location": f"/v1/calendars/{view['id']}"}
    )


@route(
    "GET",
    "/v1/calendars/{id}",
    Scope.READ,
    tag=TAG,
    summary="Show a calendar",
    response=Calendar,
    problems=("not_found",),
)
def get_calendar(call: Call) -> Answer:
    """A deleted calendar is not found."""
    with call.rt.db.begin() as tx:
        return _found(calendars.find_calendar(tx, call.id))


@route(
    "PATCH",
    "/v1/calendars/{id}",
    Scope.WRITE,
    tag=TAG,
    summary="Change a calendar",
    body=CalendarChange,
    response=Calendar,
    problems=("not_found",),
)
def change_calendar(call: Call) -> Answer:
    """Pausing takes its bots away, resuming brings them back."""
    wanted = call.body_as(CalendarChange)
    said = wanted.model_fields_set
    return _found(
        calendars.change(
            call.rt,
            call.id,
            owner=wanted.owner,
            forget_owner="owner" in said and wanted.owner is None,
            metadata=wanted.metadata if "metadata" in said else None,
            paused=wanted.paused if "paused" in said else None,
        )
    )


@route(
    "DELETE",
    "/v1/calendars/{id}",
    Scope.WRITE,
    tag=TAG,
    summary="Remove a calendar",
    response=None,
    status=204,
    problems=("not_found", "provider_unavailable", "provider_rejected_us", "provider_refused"),
)
def remove_calendar(call: Call) -> Answer:
    """It is removed at Recall too, and its bots go with it."""
    if not calendars.remove(call.rt, call.id):
        raise Problem("not_found")
    return Answer()


@route(
    "POST",
    "/v1/calendars/{id}/sync",
    Scope.WRITE,
    tag=TAG,
    summary="Look at a calendar again now",
    response=Calendar,
    status=202,
    problems=("not_found",),
)
def sync_calendar(call: Call) -> Answer:
    """Checks the connection and lists every event; `last_synced_at` tells when that is done."""
    return _found(calendars.sync(call.rt, call.id))


def _found(view: dict[str, Any] | None) -> Answer:
    if view is None:
        raise Problem("not_found")
    return Answer(view)


OPERATIONS = (
    list_calendars,
    add_calendar,
    get_calendar,
    change_calendar,
    remove_calendar,
    sync_calendar,
)
