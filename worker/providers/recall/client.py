"""
Recall's API as calls and pages: authorisation, budgets, idempotency keys, and paging that stays home.

What the values mean is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

import httpx
import structlog

from worker.errors import ConfigError
from worker.http import Answer, Count, Params, call, count_nothing
from worker.ports import Allowance
from worker.providers.recall.reactions import RefusedBy, throttle_wait, unreadable, value_of

log = structlog.get_logger(__name__)

MOST_PAGES = 500
MOST_ITEMS = 10_000  # Recall sends 100 a page
CALENDARS = "/api/v2/calendars/"
EVENTS = "/api/v2/calendar-events/"
BOTS = "/api/v1/bot/"

#: Budget names, as the `Allowance` knows them. Limits: Recall's OpenAPI, `x-throttles`.
LIST, SCHEDULE, CREATE, OTHER = "recall.list", "recall.schedule", "recall.create", "recall.other"

_PAGING = ("cursor", "page")
_PORT_BY_SCHEME = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a successful call said, and when by Recall's clock. May hold anything: read with care."""

    value: object = field(repr=False)
    served_at: datetime | None = None


class RecallClient:
    """
    One workspace of Recall, in one region.

    Source: docs.recall.ai, authentication (`Token`), regions; every documented path ends in a slash.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        http: httpx.Client,
        allowance: Allowance,
        count: Count = count_nothing,
    ) -> None:
        if not (api_key.isascii() and api_key.isprintable()) or not api_key.strip():
            msg = "PUNCTUAL_RECALL_API_KEY: has characters that no header can carry"
            raise ConfigError(msg)
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Token {api_key.strip()}"}
        self._http = http
        self._allowance = allowance
        self._count = count

    def __repr__(self) -> str:
        return f"RecallClient({self._base_url})"

    def ask(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        budget: str,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
        key: UUID | None = None,
        may_repeat: bool = True,
        is_far: bool = False,
        is_listing: bool = False,
    ) -> Reply:
        """
        Make one call and return what it said.

        *may_repeat* is for `call`, *is_far* and *is_listing* for the `Allowance`. Raises the reactions
        of `reactions.py`.
        """
        answer = call(
            self._http,
            method,
            self._base_url + path,
            provider="recall",
            operation=operation,
            headers=self._headers,
            params=params,
            body=body,
            key=key,
            may_repeat=may_repeat,
            permit=lambda: self._allowance.take(budget, is_far=is_far, is_listing=is_listing),
            count=self._count,
        )
        self._learn(budget, answer)
        is_item = path not in {CALENDARS, EVENTS, BOTS}
        return Reply(value_of(answer, operation, is_item=is_item), answer.served_at)

    def item(
        self, path: str, external_id: str, *, operation: str, budget: str = OTHER
    ) -> Mapping[str, object]:
        """Read one thing by its id, and make sure that it is the one asked for."""
        reply = self.ask("GET", at(path, external_id), operation=operation, budget=budget)
        return the_same(reply.value, external_id, operation)

    def pages(
        self, path: str, *, operation: str, budget: str, params: Params, is_far: bool = False
    ) -> Iterator[tuple[list[object], datetime | None]]:
        """
        Yield the rows of each page of a listing, and Recall's clock; a page is fetched when asked for.

        Of the link to the next page only the position is taken, and only from a link to ourselves: the
        key goes to no other host, and the filters stay those we sent.
        """
        position: dict[str, str] = {}
        seen: set[tuple[tuple[str, str], ...]] = set()
        for _ in range(MOST_PAGES):
            try:
                reply = self.ask(
                    "GET",
                    path,
                    operation=operation,
                    budget=budget,
                    params={**params, **position},
                    is_far=is_far,
                    is_listing=True,
                )
            except RefusedBy as refused:
                if position and refused.code == "not_found":
                    unreadable(operation, "a page that is gone: the listing shrank meanwhile")
                raise
            rows, following = _page(reply.value, operation)
            yield rows, reply.served_at
            if following is None:
                return
            position = self._position(following, path, operation)
            seen_before = len(seen)
            seen.add(tuple(sorted(position.items())))
            if len(seen) == seen_before:
                unreadable(operation, "a page that was read already")
        unreadable(operation, f"a listing of more than {MOST_PAGES} pages")

    def _learn(self, budget: str, answer: Answer) -> None:
        if answer.status == 429:
            wait = throttle_wait(answer)
            log.warning(
                "provider_throttled", provider="recall", budget=budget, wait_s=wait.total_seconds()
            )
            self._allowance.objected(budget, wait)

    def _position(self, following: object, path: str, operation: str) -> dict[str, str]:
        """
        Read where the next page begins.

        Recall's own demo meets `http:` links behind a proxy; the call itself keeps our scheme.
        """
        if not isinstance(following, str) or not self._is_ours(following, path):
            unreadable(operation, "a page whose next one is elsewhere")
        query = parse_qs(urlsplit(following).query)
        position = {name: query[name][0] for name in _PAGING if name in query}
        if not position:
            unreadable(operation, "a page whose next one has no position")
        return position

    def _is_ours(self, link: str, path: str) -> bool:
        try:
            own, parts = urlsplit(self._base_url), urlsplit(link)
            own_port = own.port or _PORT_BY_SCHEME[own.scheme]
            port = parts.port or _PORT_BY_SCHEME.get(parts.scheme)
        except ValueError:
            return False
        is_upgradable = (own.scheme, parts.scheme) == ("https", "http")
        return (
            (parts.scheme == own.scheme or is_upgradable)
            and parts.username is None
            and parts.password is None
            and parts.hostname == own.hostname
            and (port == own_port or (is_upgradable and port == 80))
            and parts.path.rstrip("/") == (own.path + path).rstrip("/")
        )


def at(path: str, external_id: str, tail: str = "") -> str:
    """Return the path of one thing; an id never becomes more than one segment."""
    segment = quote(external_id, safe="")
    if segment in {"", ".", ".."}:
        msg = "an id that is no id"
        raise ValueError(msg)
    return f"{path}{segment}/{tail}"


def an_object(value: object, operation: str) -> Mapping[str, object]:
    """Return *value* if it is a JSON object; else the answer is unreadable."""
    if not isinstance(value, dict):
        unreadable(operation, "no object")
    return value


def the_same(value: object, external_id: str, operation: str) -> Mapping[str, object]:
    """Return *value* if it is the object with this id: answers can be those of another request."""
    found = an_object(value, operation)
    if found.get("id") != external_id:
        unreadable(operation, "about something else")
    return found


def _page(value: object, operation: str) -> tuple[list[object], object]:
    found = an_object(value, operation)
    rows = found.get("results")
    if not isinstance(rows, list):
        unreadable(operation, "no page")
    if len(rows) > MOST_ITEMS:
        unreadable(operation, f"a page of more than {MOST_ITEMS} rows")
    return rows, found.get("next")
