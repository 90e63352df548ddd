"""Accounts that users have connected, while processes die: what their owners do, and their providers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from sqlalchemy import text

from tests.faults.crashing_world import HOUR, World
from tests.faults.dying import PATIENCE_S, RECEIVER, Trouble, dies_soon
from tests.system.oracle import Copy
from tests.system.rig import answer

PLATFORMS = ("google", "microsoft")
#: What the last page says when a calendar is connected: by this answer, or by one that was lost.
_CONNECTED = ("is connected", "has been used")
_NO_CHANNEL = """
SELECT count(*) FROM calendars WHERE connection_id IS NOT NULL AND deleted_at IS NULL
    AND status = 'connected' AND NOT EXISTS (
        SELECT 1 FROM push_channels WHERE calendar_id = calendars.id AND closed_at IS NULL
            AND is_wanted AND opened_at IS NOT NULL AND expires_at > now())
"""
_OF_ACCOUNTS = {
    "connections due": "SELECT count(*) FROM connections WHERE wanted > done",
    "push channels due": "SELECT count(*) FROM push_channels WHERE wanted > done",
    "calendars without a channel": _NO_CHANNEL,
    "consents given up": "SELECT count(*) FROM connections"
    " WHERE status = 'needs_reauth' AND deleted_at IS NULL",
}


@dataclass(kw_only=True)
class AccountsWorld(World):
    """
    The world, with Google and Microsoft in it.

    `platforms` leads to what no client of theirs can do. `owners` have been connected from the start,
    one on each platform. Events are named `platform:address:event`.
    """

    platforms: dict[str, httpx.Client] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def connect_owners(self) -> None:
        """Have somebody with an account on each platform connect it."""
        for platform in PLATFORMS:
            self._control(platform, "PUT", "/oauth/manners", {"auto_consent": True})
            self.owners[platform] = self.owner(platform)
            self.connect(platform, self.owners[platform])

    def owner(self, platform: str) -> str:
        """Let somebody have an account; the address is returned."""
        email = f"owner{uuid4().hex[:8]}@example.com"
        self._control(platform, "POST", "/accounts", {"email": email})
        return email

    def connect(self, platform: str, email: str, *, via: str = "direct") -> None:
        """Have a user go through a link, again and again until a page says that it is done."""
        wish = {"platform": platform, "via": via, "login_hint": email}
        link = self.call("POST", "/v1/connect-links", wish)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                with httpx.Client(follow_redirects=True, timeout=20, trust_env=False) as browser:
                    page = browser.get(link["url"]).text
            except httpx.TransportError:
                if self.lives[RECEIVER].is_over or dies_soon(self.lives[RECEIVER]):
                    self.revive(RECEIVER)
                continue
            if any(words in page for words in _CONNECTED):
                return
        raise Trouble(f"{email} cannot connect: {page[:500]}")

    def connection(self, email: str) -> str:
        """Return our own id of a connected account."""
        found = self.call("GET", f"/v1/connections?email={quote(email)}")["data"]
        return str(found[0]["id"])

    def put(
        self,
        platform: str,
        *,
        owner: str = "",
        calendar: str = "",
        like: str | None = None,
        **wish: Any,
    ) -> str:
        """Put a meeting into an account's calendar, a new one or another one's copy."""
        email = owner or self.owners[platform]
        place = f"{platform}:{email}"
        copy = (
            self.new_copy(place) if like is None else replace(self.oracle.copies[like], calendar=place)
        )
        body = {"title" if platform == "microsoft" else "summary": copy.title, **_when(copy.start)}
        where = calendar or self.primary(platform, email)
        path = f"/calendars/{quote(where, safe='')}/events"
        made = self._control(platform, "POST", path, {**body, "link": copy.link, **wish})
        name = f"{place}:{where}:{made['id']}"
        self.oracle.copies[name] = copy
        return name

    def put_series(self, platform: str, days: int = 3) -> list[str]:
        """Put a meeting of some days in a row into an account's calendar; each day's name is returned."""
        series = self.put(platform, **_daily(platform, days))
        first = self.oracle.copies[series]
        names = [f"{series}#{day}" for day in range(1, days)]
        for day, name in enumerate(names, 1):
            self.oracle.copies[name] = replace(first, start=first.start + day * 24 * HOUR)
        return [series, *names]

    def edit(self, event: str, **fields: Any) -> None:
        if ":" not in event:
            super().edit(event, **fields)
            return
        wish = {**fields, **(_when(fields["start"]) if "start" in fields else {})}
        self._control(event.partition(":")[0], "PATCH", _path_of(event), wish)
        self.oracle.copies[event] = replace(self.oracle.copies[event], **fields)

    def erase(self, event: str) -> None:
        if ":" not in event:
            super().erase(event)
        elif "#" not in event:  # a series goes as a whole
            self._control(event.partition(":")[0], "DELETE", _path_of(event))

    def add_calendar(self, platform: str, email: str) -> str:
        """Let an account have a second calendar; its id is returned."""
        if platform == "google":
            made = self._control(platform, "POST", "/calendars", {"account": email, "summary": "Team"})
        else:
            path = f"/accounts/{quote(email)}/calendars"
            made = self._control(platform, "POST", path, {"name": "Team"})
        return str(made["id"])

    def remove_calendar(self, platform: str, calendar: str) -> None:
        """Let an account's second calendar be gone."""
        self._control(platform, "DELETE", f"/calendars/{quote(calendar, safe='')}")

    def choose(self, email: str, *calendars: str) -> None:
        """Follow exactly these calendars of an account."""
        path = f"/v1/connections/{self.connection(email)}/calendars"
        self.call("PUT", path, {"external_ids": list(calendars)})

    def take_back(self, platform: str) -> None:
        """Let an account's consent be taken back, and whatever it led to with it."""
        wish = {"account": self.owners[platform], "access_too": True}
        self._control(platform, "POST", "/oauth/revoke", wish)

    def end_tokens(self, platform: str, *, known: bool) -> None:
        """Let an account's access tokens be over: before their time, or as it was *known*."""
        self._control(platform, "POST", "/oauth/expire", {"account": self.owners[platform]})
        if known:
            self._change(
                "UPDATE connections SET access_expires_at = now() WHERE platform = :platform", platform
            )

    def let_channels_age(self, platform: str) -> None:
        """Let most of the life of an account's channels be over."""
        self._change(
            "UPDATE push_channels SET wanted = wanted + 1, due_at = now(),"
            " expires_at = now() + interval '1 hour' WHERE closed_at IS NULL AND calendar_id IN"
            " (SELECT id FROM calendars WHERE source = :platform)",
            platform,
        )

    def lose_answer(self, platform: str, operation: str) -> None:
        """Let the next call of this operation be carried out and its answer be lost."""
        wish = {"kind": "lost_answer", "operation": operation, "times": 1}
        self._control(platform, "POST", "/faults", wish)

    def lose_channels(self, platform: str) -> None:
        """Let the channels of a platform vanish without a word."""
        if platform == "microsoft":
            for one in self._control(platform, "GET", "/subscriptions"):
                self._control(platform, "DELETE", f"/subscriptions/{one['id']}")
            return
        for one in self._control(platform, "GET", "/channels"):
            self._control(platform, "PATCH", f"/channels/{one['id']}", {"dead": True})

    def forget_cursors(self, platform: str) -> None:
        """Let a platform know no cursor any more."""
        if platform == "microsoft":
            self._control(platform, "POST", "/delta/forget", {})
            return
        path = f"/calendars/{quote(self.owners[platform])}/expire-sync-tokens"
        self._control(platform, "POST", path, {})

    def look_at(self, platform: str) -> None:
        """Have the calendars of a platform looked at, as upkeep does when nobody tells us anything."""
        self._change(
            "UPDATE calendars SET wanted = wanted + 1, due_at = now() WHERE source = :platform",
            platform,
        )

    @contextmanager
    def keeping_quiet(self, platform: str) -> Iterator[None]:
        """Have nobody told of changes meanwhile."""
        method, path = ("PUT", "/push") if platform == "google" else ("PATCH", "/weather")
        self._control(platform, method, path, {"drop": 1.0})
        try:
            yield
        finally:
            self._control(platform, method, path, {"drop": 0.0})

    def recover(self) -> None:
        super().recover()
        for platform in self.platforms:
            self._control(platform, "DELETE", "/faults")
            self._control(platform, "DELETE", "/oauth/faults")

    def reconnect_lost(self) -> None:
        """Have whoever's consent was given up connect again."""
        with self.db.begin() as tx:
            lost = tx.execute(
                text(
                    "SELECT platform, email FROM connections WHERE status = 'needs_reauth'"
                    " AND deleted_at IS NULL"
                )
            ).all()
        for platform, email in lost:
            self.connect(platform, email)

    def waiting(self) -> dict[str, int]:
        counts = super().waiting()
        with self.db.begin() as tx:
            more = {name: tx.execute(text(sql)).scalar_one() for name, sql in _OF_ACCOUNTS.items()}
        return counts | {name: count for name, count in more.items() if count}

    def _is_all_sent(self) -> bool:
        return super()._is_all_sent() and all(map(self._has_told, self.platforms))

    def _has_told(self, platform: str) -> bool:
        with suppress(httpx.TransportError):
            state = self._control(platform, "GET", "/state")
            if platform == "google":
                return not state["notices"].get("pending")
            told = state["notifications"]
            if told["waiting"] and not told["in_flight"] and not self.lives[RECEIVER].is_over:
                # Refused for a moment while nobody listened: the sender would take its time.
                self._control(platform, "POST", "/notifications/replay", {"state": "pending"})
            return not (told["waiting"] or told["in_flight"])
        return False

    def primary(self, platform: str, email: str) -> str:
        """Return the id of an account's own calendar."""
        if platform == "google":
            return email
        return str(self._control(platform, "GET", f"/accounts/{quote(email)}/calendars")[0]["id"])

    def _control(self, platform: str, method: str, path: str, body: object = None) -> Any:
        return answer(self.platforms[platform].request(method, path, json=body))

    def _change(self, statement: str, platform: str) -> None:
        with self.db.begin() as tx:
            tx.execute(text(statement), {"platform": platform})


def _when(start: datetime) -> Mapping[str, str]:
    return {"start": start.isoformat(), "end": (start + HOUR).isoformat()}


def _daily(platform: str, days: int) -> dict[str, Any]:
    if platform == "google":
        return {"recurrence": [f"RRULE:FREQ=DAILY;COUNT={days}"], "zone": "UTC"}
    span = {"type": "numbered", "numberOfOccurrences": days}
    return {"recurrence": {"pattern": {"type": "daily", "interval": 1}, "range": span}}


def _path_of(event: str) -> str:
    platform, _, calendar, name = event.split(":", 3)
    where = f"/calendars/{quote(calendar, safe='')}" if platform == "google" else ""
    return f"{where}/events/{quote(name, safe='')}"


__all__ = ["PLATFORMS", "AccountsWorld", "Copy"]
