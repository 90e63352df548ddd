"""
Calls to a platform in the name of one account: bearer token, bounded answers, no foreign hosts.

What a refusal means is each platform's own matter, said once in its module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import quote, urlsplit

import httpx

from worker.errors import Reaction, Refused, TryLater
from worker.http import Answer, Count, Params, call, count_nothing
from worker.ports import Allowance, FoundEvent

MOST_PAGES = 500
MOST_ITEMS = 10_000
#: How both platforms write what went wrong: rateLimitExceeded, ErrorAccessDenied. What is none may be
#: anything, also what it was told.
_WORD = re.compile(r"[A-Za-z][A-Za-z_.]{0,63}")


@dataclass(frozen=True, slots=True)
class AccountApi:
    """One platform's API. *reaction* turns an answer that is no success into what to do."""

    provider: str
    base_url: str
    http: httpx.Client
    reaction: Callable[[Answer, Mapping[str, object], str], Reaction]
    allowance: Allowance
    headers: Mapping[str, str] = field(default_factory=dict)
    count: Count = count_nothing

    def ask(
        self,
        method: str,
        path: str,
        token: str,
        *,
        operation: str,
        params: Params | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, object]:
        """
        Make one call and return the object it answered with, empty when there was no content.

        *path* is below our base URL, or a whole URL that this API gave us.
        """
        url = path if path.startswith(("http://", "https://")) else self.base_url + path
        if not self.is_ours(url):
            self.unreadable(operation, "a link to somewhere else")
        answer = call(
            self.http,
            method,
            url,
            provider=self.provider,
            operation=operation,
            headers={**self.headers, **(headers or {}), "Authorization": f"Bearer {token}"},
            params=params,
            body=body,
            permit=lambda: self.allowance.take(f"{self.provider}.calls"),
            count=self.count,
        )
        found = _object_in(answer)
        if not 200 <= answer.status < 300:
            raise self.reaction(answer, found or {}, operation)
        if found is None:
            if answer.body.strip():
                self.unreadable(operation, "not JSON")
            return {}
        return found

    def is_ours(self, url: str) -> bool:
        """Say whether a URL is of this API: its host, its scheme, and below its path."""
        try:
            own, other = urlsplit(self.base_url), urlsplit(url)
            is_same = (own.scheme, own.hostname, own.port) == (other.scheme, other.hostname, other.port)
        except ValueError:
            return False
        is_bare = other.username is None and other.password is None
        return is_same and is_bare and other.path.startswith(own.path.rstrip("/") + "/")

    def unreadable(self, operation: str, what: str) -> NoReturn:
        """Say that an answer makes no sense: whatever was asked for may have been done."""
        msg = f"{self.provider} {operation}: the answer is {what}"
        raise TryLater(msg)


def rows_of(api: AccountApi, found: Mapping[str, object], name: str, operation: str) -> list[object]:
    """Return the rows of a page."""
    rows = found.get(name)
    if not isinstance(rows, list):
        api.unreadable(operation, "no page")
    if len(rows) > MOST_ITEMS:
        api.unreadable(operation, f"a page of more than {MOST_ITEMS} rows")
    return rows


def alone(events: Iterable[FoundEvent]) -> tuple[str, ...]:
    """List the events that belong to no series."""
    return tuple(found.event.external_id for found in events if found.event.series_id is None)


def segment(external_id: str) -> str:
    """Write an id as one segment of a path; Refused when it cannot be one."""
    if external_id in {"", ".", ".."}:
        msg = "an id that is no id"
        raise Refused(msg)
    return quote(external_id, safe="")


def said(value: object) -> str:
    """Return a provider's own word for what went wrong, fit for a log; empty when it is none."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _object_in(answer: Answer) -> Mapping[str, object] | None:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
