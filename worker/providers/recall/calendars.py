"""Recall's calendars: connecting them, and reading what they have become."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from uuid import UUID

import structlog

from worker.errors import AlreadyGone
from worker.ports import FoundCalendar, NewCalendar
from worker.providers.payloads.fields import email_of, storable, text_at
from worker.providers.recall.client import (
    CALENDARS,
    LIST,
    OTHER,
    RecallClient,
    an_object,
    at,
    the_same,
)
from worker.providers.recall.reactions import unreadable
from worker.providers.recall.reading import id_at, newest_last, objects_at

log = structlog.get_logger(__name__)

LONGEST_REASON_CHARS = 200

#: Words with which Google, Microsoft and Recall say that the user has to consent again.
#: Source: docs.recall.ai, calendar integration FAQ; the keys around them are not documented.
_CREDENTIALS = re.compile(
    r"invalid_grant|invalid_scope|invalid_client|unauthori[sz]ed|access_denied|interaction_required"
    r"|AADSTS\d+|token|consent|credential|revoked|permission|oauth|authenti|\b401\b",
    re.IGNORECASE,
)
#: A long run with a digit in it may be a token; words and names of scopes are none.
_TOKEN_LIKE = re.compile(r"(?=[\w\-+=~/]*\d)[\w\-+=~/]{20,}", re.ASCII)
_TELLING = re.compile(r"[^\W\d_]")
_NOT_REASONS = frozenset({"status", "created_at", "updated_at", "id"})


class Calendars:
    """Calendars of one workspace."""

    def __init__(self, client: RecallClient) -> None:
        self._client = client

    def every(self) -> Iterator[FoundCalendar]:
        """Yield every calendar once; rows that are none are left out."""
        seen: set[str] = set()
        operation = "list_calendars"
        for rows, _ in self._client.pages(CALENDARS, operation=operation, budget=LIST, params={}):
            for row in rows:
                found = row if isinstance(row, dict) else {}
                external_id = id_at(found)
                if external_id is None:
                    log.warning("calendar_unreadable", provider="recall")
                elif external_id not in seen:
                    seen.add(external_id)
                    yield read_calendar(found, external_id)

    def one(self, external_id: str) -> FoundCalendar:
        found = self._client.item(CALENDARS, external_id, operation="get_calendar")
        return read_calendar(found, external_id)

    def connect(self, new: NewCalendar, *, key: UUID) -> FoundCalendar:
        operation = "create_calendar"
        reply = self._client.ask(
            "POST",
            CALENDARS,
            operation=operation,
            budget=OTHER,
            body={"platform": new.platform, **_credentials(new)},
            key=key,
        )
        found = an_object(reply.value, operation)
        external_id = id_at(found)
        if external_id is None:
            unreadable(operation, "a calendar without an id")
        return read_calendar(found, external_id)

    def reconnect(self, external_id: str, new: NewCalendar) -> FoundCalendar:
        operation = "update_calendar"
        reply = self._client.ask(
            "PATCH",
            at(CALENDARS, external_id),
            operation=operation,
            budget=OTHER,
            body=_credentials(new),
        )
        return read_calendar(the_same(reply.value, external_id, operation), external_id)

    def disconnect(self, external_id: str) -> None:
        try:
            self._client.ask(
                "DELETE", at(CALENDARS, external_id), operation="delete_calendar", budget=OTHER
            )
        except AlreadyGone:
            log.debug("calendar_gone_already", calendar=external_id)


def read_calendar(found: Mapping[str, object], external_id: str) -> FoundCalendar:
    """Read a calendar; a status that Recall may add one day counts as connecting, to be looked at again."""
    email = email_of(found.get("platform_email")) or email_of(found.get("oauth_email"))
    status = found.get("status")
    reason = None
    match status:
        case "connecting" | "connected":
            pass
        case "disconnected":
            reason, lost_credentials = _why_disconnected(found)
            status = "needs_reauth" if lost_credentials else "disconnected"
        case _:
            status = "connecting"
    return FoundCalendar(
        external_id=external_id,
        platform=text_at(found, "platform", max_chars=40) or None,
        email=email or None,
        status=str(status),
        reason=reason,
    )


def _why_disconnected(found: Mapping[str, object]) -> tuple[str | None, bool]:
    """Return the newest reason, shortened, and whether it speaks of credentials."""
    changes = newest_last(objects_at(found, "status_changes"))
    ends = [change for change in changes if change.get("status", "disconnected") == "disconnected"]
    if not ends:
        return None, False
    said = "; ".join(_texts({k: v for k, v in ends[-1].items() if k not in _NOT_REASONS}))
    return _shortened(said) or None, bool(_CREDENTIALS.search(said))


def _texts(value: object, depth: int = 0) -> Iterator[str]:
    match value:
        case str() if _TELLING.search(value):
            yield value[:2_000]
        case dict() if depth < 4:
            for inner in value.values():
                yield from _texts(inner, depth + 1)
        case list() if depth < 4:
            for inner in value[:20]:
                yield from _texts(inner, depth + 1)
        case _:
            return


def _shortened(said: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in storable(said))
    hidden = _TOKEN_LIKE.sub("•••", " ".join(printable.split()))
    if len(hidden) <= LONGEST_REASON_CHARS:
        return hidden
    return hidden[: LONGEST_REASON_CHARS - 1].rstrip() + "…"


def _credentials(new: NewCalendar) -> dict[str, str]:
    email = {"oauth_email": new.email} if new.email else {}
    return {
        "oauth_client_id": new.oauth_client_id,
        "oauth_client_secret": new.oauth_client_secret,
        "oauth_refresh_token": new.oauth_refresh_token,
        **email,
    }
