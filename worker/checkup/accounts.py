"""The way of users' own accounts to us: OAuth clients, the addresses they lead back to, and consents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, and_, or_, select

from models.db import Tx
from models.sealing import Vault
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.connections import Connection, OAuthClient
from worker.checkup.finding import NAMED, Finding, counted, worded
from worker.errors import AuthorizationLost, ConsentLost, Reaction, Refused
from worker.linking import redirect_uri
from worker.oauth_clients import default_app, find_app
from worker.ports_direct import Authority, OAuthApp
from worker.providers.google import OPERATOR_REASONS
from worker.providers.oauth import CLIENT_ERRORS
from worker.publishers.egress import ForbiddenUrl, check_url
from worker.settings import Settings

CALENDARS = due.table_of(Calendar)
CONNECTIONS = due.table_of(Connection)
CLIENTS = due.table_of(OAuthClient)

PLATFORMS = ("google", "microsoft")
#: What an unknown token is answered with says whether our client is known.
NO_TOKEN = "punctual-doctor"

#: Calendars that push channels are for.
IS_READ_DIRECTLY = and_(
    CALENDARS.c.connection_id.is_not(None),
    CALENDARS.c.deleted_at.is_(None),
    CALENDARS.c.status == "connected",
)


def list_apps(tx: Tx, settings: Settings, vault: Vault) -> list[OAuthApp]:
    """List the OAuth clients in use: the settings' own, and those registered over the API."""
    own = [app for platform in PLATFORMS if (app := default_app(settings, platform)) is not None]
    known = {(app.platform, app.client_id) for app in own}
    rows = tx.execute(select(CLIENTS.c.platform, CLIENTS.c.client_id).order_by(CLIENTS.c.created_at))
    others = [
        find_app(tx, settings, vault, row.platform, row.client_id)
        for row in rows.all()
        if (row.platform, row.client_id) not in known
    ]
    return [*own, *others]


def check_clients(apps: Sequence[OAuthApp], authorities: Mapping[str, Authority]) -> Iterator[Finding]:
    """Does each platform's token endpoint answer, and does it take our client?"""
    if not apps:
        yield Finding("ok", "oauth client", "none: users cannot connect accounts by a link")
    for app in apps[:NAMED]:
        yield _asked(app, authorities[app.platform])


def _asked(app: OAuthApp, authority: Authority) -> Finding:
    check, name = "oauth client", f"{app.platform}, {app.client_id}"
    try:
        authority.refresh(app, NO_TOKEN)
    except (ConsentLost, Refused):
        return Finding(
            "ok", check, f"{name}: the token endpoint answers and objects to the token alone"
        )
    except AuthorizationLost as refused:
        return Finding(
            "fault", check, f"{name}: is not accepted ({refused})", _mend_client(app.platform)
        )
    except Reaction as silent:
        return Finding(
            "fault",
            check,
            f"{name}: the token endpoint does not answer ({silent})",
            "Check the network, and what the PUNCTUAL_…_URL settings of the platform say, if anything.",
        )
    return Finding("ok", check, f"{name}: the token endpoint answers")


def check_public_url(tx: Tx, settings: Settings) -> Iterator[Finding]:
    """Can users come back to us from a consent page, and can pushes arrive?"""
    connected = set(tx.execute(select(CALENDARS.c.source).where(IS_READ_DIRECTLY).distinct()).scalars())
    registered = set(tx.execute(select(CLIENTS.c.platform).distinct()).scalars())
    for platform in PLATFORMS:
        has_client = default_app(settings, platform) is not None or platform in registered
        if has_client:
            yield _judged_redirect(settings, platform)
        if platform in connected:
            yield _judged_push(settings, platform)


def _judged_redirect(settings: Settings, platform: str) -> Finding:
    """Source: Google and Entra, redirect URI validation: https, and http for this machine alone."""
    check, uri = "redirect uri", redirect_uri(settings, platform)
    if settings.base_url.startswith("https://") or _is_emulated(settings, platform):
        return Finding("ok", check, f"{uri}: has to be registered at {platform} to the letter")
    if _is_loopback(settings.base_url):
        return Finding(
            "warning",
            check,
            f"{uri}: only a browser on this machine comes back to it",
            "Set PUNCTUAL_PUBLIC_URL to the https address that users reach, and register the URI of it.",
        )
    return Finding(
        "fault",
        check,
        f"{uri}: {platform} sends nobody back over http to another machine",
        "End TLS in front of us, set PUNCTUAL_PUBLIC_URL to https://…, and register the URI of that.",
    )


def _judged_push(settings: Settings, platform: str) -> Finding:
    check, address = "push address", f"{settings.base_url}/webhooks/{platform}"
    if _is_emulated(settings, platform):
        return Finding("ok", check, f"{address}, for the sandbox")
    try:
        check_url(address, allow_private=False)
    except ForbiddenUrl as forbidden:
        reason = str(forbidden)
    else:
        reason = "" if address.startswith("https://") else "it is not https"
    if not reason:
        return Finding("ok", check, address)
    near, others = worded(settings.reconcile_near), worded(settings.reconcile_all)
    return Finding(
        "warning",
        check,
        f"{address}: {platform} does not push there, as {reason}; changes are found by looking,"
        f" every {near} near a meeting and every {others} otherwise",
        "Set PUNCTUAL_PUBLIC_URL to an https address that the provider can reach.",
    )


def check_connections(tx: Tx) -> Iterator[Finding]:
    """Which accounts give us no tokens: for a reason of their users', or of ours?"""
    rows = (
        tx.execute(
            select(CONNECTIONS)
            .where(CONNECTIONS.c.deleted_at.is_(None))
            .order_by(CONNECTIONS.c.created_at, CONNECTIONS.c.id)
        )
        .mappings()
        .all()
    )
    lost = [row for row in rows if row["status"] == "needs_reauth"]
    if lost:
        shown = "; ".join(f"{row['id']}: {row['status_reason']}" for row in lost[:NAMED])
        yield Finding(
            "warning",
            "connections",
            f"{len(lost)} of {counted(len(rows), 'account')} have to be connected again: {shown}",
            "Give their users a new link: `punctual connect-link`. Their bots stay until then.",
        )
    refused = list(_refused(tx))
    for platform in PLATFORMS:
        errors = [error for of, error in refused if of == platform]
        if errors:
            yield Finding(
                "fault",
                "operator alarm",
                f"{platform} does not accept us, whoever the user is: {errors[0]}"
                f" ({counted(len(errors), 'row')} waiting)",
                _mend_client(platform),
            )
    if not lost and not refused:
        yield Finding("ok", "connections", f"{counted(len(rows), 'account')}, none lost")


def _refused(tx: Tx) -> Iterator[tuple[str, str]]:
    """Yield the platform and the error of whatever waits because our own client or project is refused."""
    marks = sorted(CLIENT_ERRORS | OPERATOR_REASONS)

    def is_ours(error: ColumnElement[str | None]) -> ColumnElement[bool]:
        return or_(*(error.contains(mark, autoescape=True) for mark in marks))

    accounts = select(CONNECTIONS.c.platform, CONNECTIONS.c.last_error).where(
        CONNECTIONS.c.deleted_at.is_(None),
        CONNECTIONS.c.is_pending,
        is_ours(CONNECTIONS.c.last_error),
    )
    calendars = select(CALENDARS.c.source, CALENDARS.c.last_error).where(
        IS_READ_DIRECTLY, CALENDARS.c.is_pending, is_ours(CALENDARS.c.last_error)
    )
    for query in (accounts, calendars):
        yield from ((row[0], row[1]) for row in tx.execute(query))


def _mend_client(platform: str) -> str:
    name = f"PUNCTUAL_{platform.upper()}_CLIENT"
    return (
        f"Check {name}_ID and {name}_SECRET at {platform} (has the secret expired?), or register the"
        " client's new secret with POST /v1/oauth-clients. Nothing is lost meanwhile."
    )


def _is_emulated(settings: Settings, platform: str) -> bool:
    is_google = platform == "google"
    return _is_loopback(settings.google_oauth_url if is_google else settings.microsoft_login_url)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
