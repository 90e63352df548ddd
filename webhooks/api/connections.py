"""/v1/connect-links, /v1/connections, /v1/oauth-clients: users connect their own accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Fault, Problem
from webhooks.api.shapes import Id, Line, Listing, LongLine, Metadata, Shape, Time
from worker import connections, linking, oauth_clients
from worker.access import Scope
from worker.linking import LONGEST_LIFE, USUAL_LIFE, NewLink
from worker.ports_direct import OAuthApp

TAG = "Connections"
Platform = Literal["google", "microsoft"]
Via = Literal["recall", "direct"]


class ConnectLinkWanted(Shape):
    """A link to make for one user."""

    platform: Platform
    via: Annotated[
        Via,
        Field(
            description="Who reads the calendar: Recall, which is handed the consent, or Punctual itself."
        ),
    ] = "direct"
    owner: Annotated[Line | None, Field(description="Whose calendar it will be, in your words.")] = None
    metadata: Metadata | None = None
    return_url: Annotated[
        LongLine | None,
        AfterValidator(lambda url: None if url is None else linking.web_address(url)),
        Field(
            description="Where the browser goes once it is done, with `status` and `calendar_id` added."
        ),
    ] = None
    scopes: Annotated[
        list[Line],
        Field(max_length=20, description="To ask for beyond what reading a calendar needs."),
    ] = Field(default=[])
    login_hint: Annotated[Line | None, Field(description="The account's address, if you know it.")] = (
        None
    )
    oauth_client_id: Annotated[
        LongLine | None, Field(description="One of your clients; null: the platform's default.")
    ] = None
    expires_in_seconds: Annotated[int, Field(ge=60, le=int(LONGEST_LIFE.total_seconds()))] = int(
        USUAL_LIFE.total_seconds()
    )


class ConnectLink(Shape):
    """A link with its address, shown this once."""

    id: Id
    url: Annotated[str, Field(description="Give it to one user; it works once.")]
    platform: Platform
    via: Via
    owner: str | None
    return_url: str | None
    expires_at: Time
    used_at: Time | None
    calendar_id: Id | None
    created_at: Time


class Connection(Shape):
    """A connected account."""

    id: Id
    platform: Platform
    email: str | None
    owner: str | None
    oauth_client_id: str
    scopes: list[str]
    status: Literal["connected", "needs_reauth"]
    status_reason: str | None
    refreshed_at: Annotated[Time | None, Field(description="When its tokens were last renewed.")]
    created_at: Time
    updated_at: Time


class ConnectionPage(Shape):
    """A page of connected accounts, oldest first."""

    data: list[Connection]
    next: str | None


class ConnectionQuery(Listing):
    """Filters are exact."""

    platform: Platform | None = None
    status: Literal["connected", "needs_reauth"] | None = None
    owner: Line | None = None
    email: Line | None = None


class OfferedCalendar(Shape):
    """A calendar that an account can see."""

    external_id: Annotated[str, Field(description="Its id at the provider.")]
    name: str
    is_primary: bool
    may_read: Annotated[bool, Field(description="False: only free and busy can be seen.")]
    time_zone: str | None
    followed: bool
    calendar_id: Id | None


class OfferedCalendars(Shape):
    """All calendars of an account, its own first."""

    data: list[OfferedCalendar]
    next: None


class CalendarChoice(Shape):
    """Which calendars to follow: these, and no others."""

    external_ids: Annotated[list[LongLine], Field(max_length=100)]


class OAuthClient(Shape):
    """A client of yours at a platform; its secret is never shown."""

    id: Id
    platform: Platform
    client_id: str
    tenant: str | None
    created_at: Time
    updated_at: Time


class OAuthClientPage(Shape):
    """A page of registered clients, oldest first; the settings' own are not among them."""

    data: list[OAuthClient]
    next: str | None


class OAuthClientWanted(Shape):
    """A client to register, or the new secret of one."""

    platform: Platform
    client_id: LongLine
    client_secret: Annotated[LongLine, Field(repr=False)]
    tenant: Annotated[
        Line | None,
        Field(pattern=r"^[A-Za-z0-9.-]+$", description="Microsoft alone; null: `common`."),
    ] = None


@route(
    "POST",
    "/v1/connect-links",
    Scope.WRITE,
    tag=TAG,
    summary="Make a link that connects a calendar",
    body=ConnectLinkWanted,
    response=ConnectLink,
    status=201,
    problems=("provider_not_configured",),
)
def make_connect_link(call: Call) -> Answer:
    """The link leads one user to the platform's consent page and back. It works once, until it expires."""
    wanted = call.body_as(ConnectLinkWanted)
    new = NewLink(
        platform=wanted.platform,
        via=wanted.via,
        owner=wanted.owner,
        metadata=wanted.metadata,
        return_url=wanted.return_url,
        scopes=wanted.scopes,
        login_hint=wanted.login_hint,
        oauth_client_id=wanted.oauth_client_id,
        life=timedelta(seconds=wanted.expires_in_seconds),
    )
    return Answer(linking.make_link(call.rt, new))


@route(
    "GET",
    "/v1/connections",
    Scope.READ,
    tag=TAG,
    summary="List connected accounts",
    query=ConnectionQuery,
    response=ConnectionPage,
)
def list_connections(call: Call) -> Answer:
    """Oldest first. Accounts that were handed to Recall are not among them."""
    query = call.query_as(ConnectionQuery)
    matching = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    after = call.after
    with call.rt.db.begin() as tx:
        return call.page(
            connections.list_connections(tx, after=after, limit=call.fetch, matching=matching)
        )


@route(
    "GET",
    "/v1/connections/{id}",
    Scope.READ,
    tag=TAG,
    summary="Show a connected account",
    response=Connection,
    problems=("not_found",),
)
def get_connection(call: Call) -> Answer:
    """Tokens are never shown."""
    with call.rt.db.begin() as tx:
        return Answer(_found(connections.find_connection(tx, call.id)))


@route(
    "DELETE",
    "/v1/connections/{id}",
    Scope.WRITE,
    tag=TAG,
    summary="Let go of an account",
    response=None,
    status=204,
    problems=("not_found", "provider_unavailable"),
)
def remove_connection(call: Call) -> Answer:
    """Its calendars and their bots go with it, and its consent is given back where the platform allows it."""
    if not connections.remove_connection(call.rt, call.id):
        raise Problem("not_found")
    return Answer()


@route(
    "GET",
    "/v1/connections/{id}/calendars",
    Scope.READ,
    tag=TAG,
    summary="List the calendars an account can see",
    response=OfferedCalendars,
    problems=("not_found", "needs_reauth", "provider_unavailable", "provider_refused"),
)
def list_offered_calendars(call: Call) -> Answer:
    """Asked of the provider at this moment."""
    found = connections.offered_calendars(call.rt, call.id)
    return Answer({"data": _found(found), "next": None})


@route(
    "PUT",
    "/v1/connections/{id}/calendars",
    Scope.WRITE,
    tag=TAG,
    summary="Choose the calendars to follow",
    body=CalendarChoice,
    response=OfferedCalendars,
    problems=("not_found", "needs_reauth", "provider_unavailable", "provider_refused"),
)
def choose_calendars(call: Call) -> Answer:
    """Those left out are deleted here, and their bots cancelled."""
    chosen = call.body_as(CalendarChoice).external_ids
    try:
        found = connections.choose_calendars(call.rt, call.id, chosen)
    except connections.NotOffered:
        fault = Fault("body.external_ids", "must all be calendars that the account may read")
        raise Problem("invalid_request", faults=[fault]) from None
    return Answer({"data": _found(found), "next": None})


@route(
    "GET",
    "/v1/oauth-clients",
    Scope.ADMIN,
    tag=TAG,
    summary="List registered OAuth clients",
    query=Listing,
    response=OAuthClientPage,
)
def list_oauth_clients(call: Call) -> Answer:
    """Oldest first; secrets are never shown."""
    after = call.after
    with call.rt.db.begin() as tx:
        return call.page(oauth_clients.list_clients(tx, after=after, limit=call.fetch))


@route(
    "POST",
    "/v1/oauth-clients",
    Scope.ADMIN,
    tag=TAG,
    summary="Register an OAuth client",
    body=OAuthClientWanted,
    response=OAuthClient,
    status=201,
    also={200: "The client is known already; its secret was replaced."},
)
def register_oauth_client(call: Call) -> Answer:
    """The secret is sealed. The same client again gets the new secret: that is how secrets are rotated."""
    wanted = call.body_as(OAuthClientWanted)
    app = OAuthApp(wanted.platform, wanted.client_id, wanted.client_secret, wanted.tenant)
    with call.rt.db.begin() as tx:
        view, is_new = oauth_clients.register(tx, call.rt.vault, app)
    return Answer(view, status=201 if is_new else 200)


@route(
    "DELETE",
    "/v1/oauth-clients/{id}",
    Scope.ADMIN,
    tag=TAG,
    summary="Forget an OAuth client",
    response=None,
    status=204,
    problems=("not_found",),
)
def forget_oauth_client(call: Call) -> Answer:
    """Accounts connected through it cannot renew their tokens any more."""
    with call.rt.db.begin() as tx:
        if not oauth_clients.forget(tx, call.id):
            raise Problem("not_found")
    return Answer()


def _found(view: Any) -> Any:  # noqa: ANN401  # whatever was looked for
    if view is None:
        raise Problem("not_found")
    return view


OPERATIONS = (
    make_connect_link,
    list_connections,
    get_connection,
    remove_connection,
    list_offered_calendars,
    choose_calendars,
    list_oauth_clients,
    register_oauth_client,
    forget_oauth_client,
)
