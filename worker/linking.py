"""
Links that lead a user to a connected calendar: made for one account, good once, for a while.

The token in the link and the state of each way to the provider are known only by their hashes. A
callback is taken once, by the browser that set out, and before the provider is asked for anything.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, insert, select, update

from models.db import Tx
from models.domain.scopes import scopes_to_ask
from models.sealing import place
from models.tables.base import new_id
from models.tables.connections import ConnectAttempt, ConnectLink
from models.tables.due import table_of
from worker.errors import ConfigError
from worker.oauth_clients import find_app
from worker.ports_direct import Consent
from worker.runtime import Runtime
from worker.settings import Settings
from worker.views import moment

LINKS = table_of(ConnectLink)
ATTEMPTS = table_of(ConnectAttempt)

LONGEST_LIFE = timedelta(days=7)
USUAL_LIFE = timedelta(hours=1)
#: Who has not come back from the consent page by then has to begin anew.
ATTEMPT_LIFE = timedelta(minutes=30)
#: A link may be opened this often; mail programs and previews open links too.
MOST_ATTEMPTS = 50
TOKEN_BYTES = 32
_MISREAD = re.compile(r"[\\\s]")


class LinkFault(StrEnum):
    """Why a link or a callback leads nowhere; the page says what to do."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    TOO_SLOW = "too_slow"
    USED = "used"
    STATE = "state"
    BROWSER = "browser"
    PLATFORM = "platform"


class BadLink(Exception):
    """A link or a callback that leads nowhere."""

    def __init__(self, fault: LinkFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True, slots=True)
class NewLink:
    """What a link is to lead to."""

    platform: str
    via: str
    owner: str | None = None
    metadata: Mapping[str, Any] | None = None
    return_url: str | None = None
    scopes: Sequence[str] = ()
    login_hint: str | None = None
    oauth_client_id: str | None = None
    life: timedelta = USUAL_LIFE


@dataclass(frozen=True, slots=True)
class Departure:
    """Where to send the browser, and the secret that it has to bring back in a cookie."""

    url: str
    browser: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A callback that matches a way somebody set out on."""

    link: RowMapping
    verifier: str = field(repr=False)


def make_link(rt: Runtime, new: NewLink) -> dict[str, Any]:
    """Make a link; its token is shown this once. ConfigError when the platform has no OAuth client."""
    if new.platform not in rt.authorities:
        msg = f"{new.platform} is not available"
        raise ConfigError(msg)
    if new.via == "recall" and rt.recall is None:
        msg = "no Recall API key is configured (PUNCTUAL_RECALL_API_KEY)"
        raise ConfigError(msg)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with rt.db.begin() as tx:
        app = find_app(tx, rt.settings, rt.vault, new.platform, new.oauth_client_id)
        row = (
            tx.execute(
                insert(LINKS)
                .values(
                    id=new_id(),
                    token_hash=_hash(token),
                    platform=new.platform,
                    via=new.via,
                    owner=new.owner,
                    metadata=None if new.metadata is None else dict(new.metadata),
                    return_url=new.return_url,
                    scopes=list(new.scopes),
                    login_hint=new.login_hint,
                    oauth_client=app.client_id,
                    expires_at=rt.now() + min(new.life, LONGEST_LIFE),
                )
                .returning(LINKS)
            )
            .mappings()
            .one()
        )
    return {**link_view(row), "url": f"{rt.settings.base_url}/connect/{token}"}


def set_out(rt: Runtime, token: str) -> Departure:
    """
    Begin a way to the provider's consent page. Safe to repeat: each has its own state.

    Raises BadLink, and ConfigError when the link's OAuth client is not configured any more.
    """
    state, browser = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
    verifier = secrets.token_urlsafe(48)
    with rt.db.begin() as tx:
        link = _open_link(tx, rt, LINKS.c.token_hash == _hash(token))
        count = select(func.count()).where(ATTEMPTS.c.link_id == link["id"])
        if tx.execute(count).scalar_one() >= MOST_ATTEMPTS:
            raise BadLink(LinkFault.USED)
        app = find_app(tx, rt.settings, rt.vault, link["platform"], link["oauth_client"])
        attempt_id = new_id()
        tx.execute(
            insert(ATTEMPTS).values(
                id=attempt_id,
                state_hash=_hash(state),
                link_id=link["id"],
                browser_hash=_hash(browser),
                verifier=rt.vault.seal(verifier, place=_place(attempt_id)),
                created_at=rt.now(),
            )
        )
    consent = Consent(
        state=state,
        challenge=_challenge(verifier),
        redirect_uri=redirect_uri(rt.settings, link["platform"]),
        scopes=scopes_to_ask(link["platform"], link["via"], link["scopes"]),
        login_hint=link["login_hint"],
    )
    return Departure(rt.authorities[link["platform"]].consent_url(app, consent), browser)


def come_back(rt: Runtime, platform: str, state: str, browser: str | None) -> Arrival:
    """
    Take a callback: once, in time, on the platform it set out to, by the browser that set out.

    Nobody has been asked for anything yet when this raises BadLink.
    """
    with rt.db.begin() as tx:
        attempt = (
            tx.execute(select(ATTEMPTS).where(ATTEMPTS.c.state_hash == _hash(state)).with_for_update())
            .mappings()
            .one_or_none()
        )
        if attempt is None or attempt["used_at"] is not None:
            raise BadLink(LinkFault.STATE)
        tx.execute(
            update(ATTEMPTS)
            .where(ATTEMPTS.c.state_hash == attempt["state_hash"])
            .values(used_at=func.now())
        )
        fault = _fault_of(attempt, rt, browser)
        link = None if fault else _open_link(tx, rt, LINKS.c.id == attempt["link_id"])
        if link is not None and link["platform"] != platform:
            fault = LinkFault.PLATFORM
    if fault is not None or link is None:
        raise BadLink(fault or LinkFault.UNKNOWN)
    return Arrival(link, rt.vault.open(attempt["verifier"], place=_place(attempt["id"])))


def use_up(tx: Tx, link_id: UUID, *, calendar_id: UUID | None) -> bool:
    """Mark a link as used; False when another browser was faster."""
    used = tx.execute(
        update(LINKS)
        .where(LINKS.c.id == link_id, LINKS.c.used_at.is_(None))
        .values(used_at=func.now(), calendar_id=calendar_id)
    )
    return bool(used.rowcount)


def forget_links(tx: Tx) -> None:
    """Delete the links that have long expired, and the ways that began at them."""
    tx.execute(delete(LINKS).where(LINKS.c.expires_at < func.now() - LONGEST_LIFE))


def web_address(text: str) -> str:
    """
    Return *text* if every browser understands it as the absolute http(s) URL that we take it for.

    ValueError for anything else, and for one with credentials.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
        host = parts.hostname or ""
    except ValueError:
        host = ""
    # Browsers read a backslash as a slash, drop blanks, and take some other letters for dots.
    is_one = bool(host) and host.isascii() and not _MISREAD.search(text)
    if not is_one or parts.scheme not in {"http", "https"} or "@" in parts.netloc:
        msg = "must be an absolute http(s) URL without credentials, backslashes or blanks"
        raise ValueError(msg)
    return text


def redirect_uri(settings: Settings, platform: str) -> str:
    """Where a platform sends people back to; it has to be registered there, to the letter."""
    return f"{settings.base_url}/oauth/{platform}/callback"


def link_view(row: RowMapping) -> dict[str, Any]:
    """Show a link without its token."""
    return {
        "id": str(row["id"]),
        "platform": row["platform"],
        "via": row["via"],
        "owner": row["owner"],
        "return_url": row["return_url"],
        "expires_at": moment(row["expires_at"]),
        "used_at": moment(row["used_at"]),
        "calendar_id": None if row["calendar_id"] is None else str(row["calendar_id"]),
        "created_at": moment(row["created_at"]),
    }


def _open_link(tx: Tx, rt: Runtime, which: Any) -> RowMapping:  # noqa: ANN401  # SQLAlchemy's own type is private
    link = tx.execute(select(LINKS).where(which).with_for_update()).mappings().one_or_none()
    if link is None:
        raise BadLink(LinkFault.UNKNOWN)
    if link["used_at"] is not None:
        raise BadLink(LinkFault.USED)
    if link["expires_at"] <= rt.now():
        raise BadLink(LinkFault.EXPIRED)
    return link


def _fault_of(attempt: RowMapping, rt: Runtime, browser: str | None) -> LinkFault | None:
    if attempt["created_at"] < rt.now() - ATTEMPT_LIFE:
        return LinkFault.TOO_SLOW
    if browser is None or not hmac.compare_digest(_hash(browser), attempt["browser_hash"]):
        return LinkFault.BROWSER
    return None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _challenge(verifier: str) -> str:
    """PKCE's S256. Source: RFC 7636, 4.2."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _place(attempt_id: UUID) -> str:
    return place("connect_attempts", "verifier", attempt_id)
