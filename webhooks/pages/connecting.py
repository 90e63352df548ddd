"""
GET /connect/{token} and GET /oauth/{platform}/callback: from a link to a connected calendar.

Every fault ends on a page that says what to do; none of them asks a provider for anything.

Sources: RFC 6749, 4.1.2 (errors of the authorisation endpoint); RFC 9207 (issuer); Entra, "handle errors".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import structlog
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from webhooks.pages.showing import Page, no_store
from worker.consenting import Connected, NotAllowed, connect_account
from worker.errors import AuthorizationLost, ConfigError, ConsentLost, Reaction, TryLater
from worker.linking import ATTEMPT_LIFE, Arrival, BadLink, LinkFault, come_back, set_out
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

COOKIE = "punctual_connect"
LONGEST_VALUE = 4_096
_PLATFORMS = {"google": "Google", "microsoft": "Microsoft"}
#: How both platforms write errors. Source: RFC 6749, 4.1.2.1, and the platforms' own lists.
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")
#: Words with which Microsoft says that only an administrator may consent. Source: Entra error codes.
_ADMIN_WORDS = ("AADSTS90094", "AADSTS65001", "AADSTS90093", "AADSTS900941", "consent_required")

_FAULTS = {
    LinkFault.UNKNOWN: Page(
        "This link does not exist",
        "Please check that you opened the whole link, or ask whoever sent it for a new one.",
        HTTPStatus.NOT_FOUND,
        "link_unknown",
    ),
    LinkFault.EXPIRED: Page(
        "This link has expired",
        "Links are good for a limited time. Please ask for a new one.",
        HTTPStatus.GONE,
        "link_expired",
    ),
    LinkFault.TOO_SLOW: Page(
        "That took too long",
        "The consent page was open for more than half an hour. Please open your link again.",
        HTTPStatus.BAD_REQUEST,
        "attempt_expired",
    ),
    LinkFault.USED: Page(
        "This link has been used",
        "A calendar was connected with it already. To connect another one, please ask for a new link.",
        HTTPStatus.GONE,
        "link_used",
    ),
    LinkFault.STATE: Page(
        "This answer does not belong to a question of ours",
        "It may have been used already, or it was made up. Please open your link again.",
        HTTPStatus.BAD_REQUEST,
        "state_unknown",
    ),
    LinkFault.BROWSER: Page(
        "Please finish in the browser you began in",
        "The answer came from another browser than the question, or cookies are switched off. Please open"
        " your link again and stay in one browser.",
        HTTPStatus.BAD_REQUEST,
        "browser_differs",
    ),
    LinkFault.PLATFORM: Page(
        "This answer is not from where the question went",
        "Please open your link again.",
        HTTPStatus.BAD_REQUEST,
        "platform_differs",
    ),
}


#: An administrator who agreed comes back here too; nothing follows from it that we would have to do.
_ALLOWED_FOR_ALL = Page(
    "Thank you",
    "If you have agreed, the people of your organisation can connect their calendars now: whoever asked you"
    " may open their link again.",
    HTTPStatus.OK,
    "admin_consent",
)


def page_routes(rt: Runtime) -> list[BaseRoute]:
    """Return the routes of the pages."""
    return [
        Route("/connect/{token}", _in_thread(lambda request: _set_out(rt, request)), methods=["GET"]),
        Route(
            "/oauth/{platform}/callback",
            _in_thread(lambda request: _come_back(rt, request)),
            methods=["GET"],
        ),
    ]


def _set_out(rt: Runtime, request: Request) -> Response:
    try:
        departure = set_out(rt, request.path_params["token"][:LONGEST_VALUE])
    except BadLink as bad:
        return _FAULTS[bad.fault].response()
    except ConfigError as unconfigured:
        log.error("connect_not_configured", error=str(unconfigured))
        return _operators_fault().response()
    response = no_store(RedirectResponse(departure.url, status_code=HTTPStatus.FOUND))
    response.set_cookie(
        COOKIE,
        departure.browser,
        max_age=int(ATTEMPT_LIFE.total_seconds()),
        path="/oauth/",
        secure=rt.settings.base_url.startswith("https://"),
        httponly=True,
        samesite="lax",
    )
    return response


def _come_back(rt: Runtime, request: Request) -> Response:
    platform = request.path_params["platform"]
    if platform not in _PLATFORMS:
        return _FAULTS[LinkFault.UNKNOWN].response()
    asked = _single_values(request)
    if asked is not None and platform == "microsoft" and _is_administrators(asked):
        return _ALLOWED_FOR_ALL.response()
    if asked is None or "state" not in asked:
        return _FAULTS[LinkFault.STATE].response()
    if not _is_from(rt, platform, asked.get("iss")):
        return _FAULTS[LinkFault.PLATFORM].response()
    try:
        arrival = come_back(rt, platform, asked["state"], request.cookies.get(COOKIE))
    except BadLink as bad:
        return _FAULTS[bad.fault].response()
    if "error" in asked:
        return _declined(rt, arrival, asked)
    code = asked.get("code")
    if not code:
        return _FAULTS[LinkFault.STATE].response()
    return _connect(rt, arrival, code)


def _connect(rt: Runtime, arrival: Arrival, code: str) -> Response:
    platform = arrival.link["platform"]
    try:
        connected = connect_account(rt, arrival, code)
    except NotAllowed:
        return _ended(arrival, _not_enough(platform))
    except ConsentLost as lost:
        log.warning("consent_not_redeemed", error=str(lost))
        return _ended(arrival, _again("code_refused", HTTPStatus.BAD_REQUEST))
    except AuthorizationLost as refused:
        log.error("oauth_client_refused", platform=platform, error=str(refused))
        return _operators_fault("client_refused").response()
    except ConfigError as unconfigured:
        log.error("connect_not_configured", error=str(unconfigured))
        return _operators_fault().response()
    except TryLater as later:
        log.warning("connect_put_off", error=str(later))
        return _again("provider_unavailable", HTTPStatus.BAD_GATEWAY).response()
    except Reaction as reaction:
        log.error("connect_refused", error=str(reaction))
        return _operators_fault("provider_refused").response()
    return _done(arrival, connected)


def _done(arrival: Arrival, connected: Connected) -> Response:
    calendar_id = str(connected.calendar["id"])
    if arrival.link["return_url"] is not None:
        return _back(arrival.link["return_url"], status="connected", calendar_id=calendar_id)
    return _forget_browser(
        Page("Your calendar is connected", "You can close this window now.").response()
    )


def _declined(rt: Runtime, arrival: Arrival, asked: dict[str, str]) -> Response:
    """Explain an authorisation endpoint's error; nobody is asked for a token."""
    platform = arrival.link["platform"]
    said = f"{asked['error']} {asked.get('error_description', '')}"
    if platform == "microsoft" and any(word in said for word in _ADMIN_WORDS):
        return _forget_browser(_admin_wall(rt, arrival).response())
    match asked["error"]:
        case "access_denied":
            page = Page(
                "You did not allow it",
                f"Without your consent at {_PLATFORMS[platform]} no calendar is connected. If that was a"
                " mistake, please open your link again.",
                HTTPStatus.OK,
                "access_denied",
            )
        case "admin_policy_enforced" | "org_internal":
            page = Page(
                "Your organisation does not allow this",
                "Please ask your administrator to allow this app, then open your link again.",
                HTTPStatus.OK,
                "admin_policy",
            )
        case "server_error" | "temporarily_unavailable":
            page = _again("provider_unavailable", HTTPStatus.BAD_GATEWAY)
        case _:
            log.error("consent_page_refused", platform=platform, error=_code_in(asked["error"]))
            page = _operators_fault("consent_refused")
    return _ended(arrival, page)


def _code_in(error: str) -> str:
    """Return an error's code for the log; what is none may be anything, and is not repeated."""
    return error if _ERROR_CODE.fullmatch(error) else "malformed"


def _admin_wall(rt: Runtime, arrival: Arrival) -> Page:
    """Offer the link with which an administrator allows the app for everybody. Source: Entra, adminconsent."""
    query = urlencode(
        {
            "client_id": arrival.link["oauth_client"],
            "redirect_uri": f"{rt.settings.base_url}/oauth/microsoft/callback",
            "scope": "https://graph.microsoft.com/.default",
        },
        quote_via=quote,
    )
    login = rt.settings.microsoft_login_url.rstrip("/")
    return Page(
        "An administrator has to allow this first",
        "Your organisation lets only administrators connect calendars to apps. Please send them the link"
        " below; when they have agreed, open your link again.",
        HTTPStatus.OK,
        "admin_consent_required",
        link=f"{login}/organizations/v2.0/adminconsent?{query}",
        label="Link for the administrator",
    )


def _is_administrators(asked: dict[str, str]) -> bool:
    """Say whether this comes of the administrator's link, which has no state. Source: Entra, adminconsent."""
    return "admin_consent" in asked and not asked.keys() & {"state", "code"}


def _not_enough(platform: str) -> Page:
    return Page(
        "Reading your calendar was not allowed",
        f"On the page of {_PLATFORMS[platform]}, the box for your calendar has to be ticked. Please open your"
        " link again and leave it ticked.",
        HTTPStatus.OK,
        "scopes_missing",
    )


def _again(code: str, status: HTTPStatus = HTTPStatus.OK) -> Page:
    return Page(
        "That did not work",
        "The other side did not answer as it should. Please open your link again.",
        status,
        code,
    )


def _operators_fault(code: str = "not_configured") -> Page:
    return Page(
        "This is not set up correctly",
        "You cannot mend this: please tell whoever sent you the link, with the word below.",
        HTTPStatus.SERVICE_UNAVAILABLE,
        code,
    )


def _ended(arrival: Arrival, page: Page) -> Response:
    """Show a page; its link stays good, so the person can try again."""
    log.info("connect_ended", link_id=str(arrival.link["id"]), code=page.code)
    return _forget_browser(page.response())


def _back(return_url: str, **told: str) -> Response:
    """Send the person back to where the link's maker wanted; nothing of it is from this request."""
    parts = urlsplit(return_url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *told.items()])
    url = urlunsplit(parts._replace(query=query))
    return _forget_browser(no_store(RedirectResponse(url, status_code=HTTPStatus.FOUND)))


def _forget_browser(response: Response) -> Response:
    response.delete_cookie(COOKIE, path="/oauth/")
    return response


def _single_values(request: Request) -> dict[str, str] | None:
    """Read the query; None when something is said twice or at length."""
    pairs = request.query_params.multi_items()
    asked = dict(pairs)
    is_plain = len(asked) == len(pairs) and all(len(value) <= LONGEST_VALUE for value in asked.values())
    return asked if is_plain else None


def _is_from(rt: Runtime, platform: str, issuer: str | None) -> bool:
    """Say whether an answer that names its issuer names the right one; Microsoft's names its tenant."""
    if issuer is None:
        return True
    home = rt.settings.google_accounts_url if platform == "google" else rt.settings.microsoft_login_url
    return issuer.rstrip("/") == home.rstrip("/") or issuer.startswith(home.rstrip("/") + "/")


def _in_thread(answer: Callable[[Request], Response]) -> Callable[[Request], object]:
    """Do the work beside the event loop: it talks to the database and to providers."""

    async def answered(request: Request) -> Response:
        try:
            return await asyncio.to_thread(answer, request)
        except DBAPIError:
            log.warning("connect_without_database")
            return _again("unavailable", HTTPStatus.SERVICE_UNAVAILABLE).response()

    return answered
