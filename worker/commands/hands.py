"""What people do in their calendars in the demo, on each platform in its own way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote

from models.domain.times import rfc3339
from worker.commands.browsing import NoWayOn, agree_to
from worker.commands.stage import Stage

HOUR = timedelta(hours=1)


class Hands(Protocol):
    """The people of the story, by platform."""

    anna: str
    ben: str
    #: Each attendee's copy is an event of its own to its provider's bots.
    hangs_on_events: bool

    def connect(self, email: str) -> str:
        """Connect somebody's calendar; its id here is returned."""
        ...

    def is_settled(self, calendar: dict[str, Any]) -> bool:
        """Say whether changes of a connected calendar would be told of by now."""
        ...

    def plan(self, email: str, start: datetime, link: str) -> None:
        """Have somebody plan a meeting of both."""
        ...

    def appear(self, email: str, start: datetime, link: str) -> None:
        """Have the meeting stand in the invited one's calendar too."""
        ...

    def change(self, *, start: datetime | None = None, link: str | None = None) -> None:
        """Have the meeting changed for both."""
        ...

    def leave_meeting(self, email: str) -> None:
        """Have somebody's copy of the meeting deleted."""
        ...

    def disconnect(self, email: str) -> None:
        """Have somebody take his calendar away."""
        ...


@dataclass
class RecallHands:
    """Calendars that Recall holds; each copy is put there by itself."""

    stage: Stage
    anna: str = "anna@acme.example"
    ben: str = "ben@acme.example"
    hangs_on_events: bool = True
    calendars: dict[str, dict[str, Any]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    def connect(self, email: str) -> str:
        self.calendars[email] = self.stage.ask(
            "POST",
            "/v1/calendars",
            source="recall",
            platform="google_calendar",
            oauth_client_id="demo-client",
            oauth_client_secret="demo-secret",
            oauth_refresh_token=f"rt:{email}",
        )
        return str(self.calendars[email]["id"])

    def is_settled(self, calendar: dict[str, Any]) -> bool:
        return bool(calendar["status"] == "connected")

    def plan(self, email: str, start: datetime, link: str) -> None:
        calendar = self.calendars[email]["external_id"]
        event = {
            "title": "Weekly",
            "start": rfc3339(start),
            "link": link,
            "organizer": self.anna,
            "attendees": [self.anna, self.ben],
        }
        made = self.stage.control("POST", f"/calendars/{calendar}/events", event)
        self.copies[email] = made["id"]

    def appear(self, email: str, start: datetime, link: str) -> None:
        self.plan(email, start, link)

    def change(self, *, start: datetime | None = None, link: str | None = None) -> None:
        changes = {"start": start and rfc3339(start), "link": link}
        said = {name: value for name, value in changes.items() if value is not None}
        self._batch(self.copies.values(), said)

    def leave_meeting(self, email: str) -> None:
        self._batch([self.copies.pop(email)], {"delete": True})

    def disconnect(self, email: str) -> None:
        self.stage.ask("DELETE", f"/v1/calendars/{self.calendars[email]['id']}")

    def _batch(self, events: Iterable[str], changes: dict[str, Any]) -> None:
        self.stage.control("POST", "/events:batch", [{"id": event, **changes} for event in events])


@dataclass
class AccountHands:
    """Accounts of Google or Microsoft, connected through a link; invitations spread by themselves."""

    stage: Stage
    platform: str
    anna: str = "anna@example.com"
    ben: str = "ben@example.com"
    hangs_on_events: bool = False
    meeting: str = ""

    def connect(self, email: str) -> str:
        link = self.stage.ask(
            "POST", "/v1/connect-links", platform=self.platform, via="direct", owner=email
        )
        page = agree_to(link["url"], email=email)
        calendar = next((one for one in self._calendars() if one["email"] == email), None)
        if page.is_error or calendar is None:
            msg = f"connecting ended on a page with status {page.status_code}"
            raise NoWayOn(msg)
        return str(calendar["id"])

    def is_settled(self, calendar: dict[str, Any]) -> bool:
        where = "/channels" if self.platform == "google" else "/subscriptions"
        told_of = len(self.stage.control_platform("GET", where))
        return calendar["status"] == "connected" and told_of >= len(self._calendars())

    def plan(self, email: str, start: datetime, link: str) -> None:
        body = {
            ("summary" if self.platform == "google" else "title"): "Weekly",
            "start": rfc3339(start),
            "end": rfc3339(start + HOUR),
            "link": link,
            "attendees": [one for one in (self.anna, self.ben) if one != email],
        }
        path = f"/calendars/{self._home(email)}/events"
        self.meeting = self.stage.control_platform("POST", path, body)["id"]

    def appear(self, email: str, start: datetime, link: str) -> None:
        """Do nothing: who is invited has the meeting already."""

    def change(self, *, start: datetime | None = None, link: str | None = None) -> None:
        said: dict[str, Any] = {} if link is None else {"link": link}
        if start is not None:
            said |= {"start": rfc3339(start), "end": rfc3339(start + HOUR)}
        self.stage.control_platform("PATCH", self._path(self.anna, self.meeting), said)

    def leave_meeting(self, email: str) -> None:
        own = self.meeting
        if self.platform == "microsoft" and email != self.anna:
            path = f"/calendars/{self._home(email)}/events"
            own = self.stage.control_platform("GET", path)[-1]["id"]
        self.stage.control_platform("DELETE", self._path(email, own))

    def disconnect(self, email: str) -> None:
        (account,) = self.stage.ask("GET", f"/v1/connections?email={quote(email)}")["data"]
        self.stage.ask("DELETE", f"/v1/connections/{account['id']}")

    def _calendars(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stage.ask("GET", "/v1/calendars?limit=200")["data"]
        return found

    def _home(self, email: str) -> str:
        """Name the calendar somebody's meetings are in, as the emulator's control does."""
        if self.platform == "google":
            return quote(email, safe="")
        found = self.stage.control_platform("GET", f"/accounts/{quote(email, safe='')}/calendars")
        return quote(found[0]["id"], safe="")

    def _path(self, email: str, event: str) -> str:
        of_calendar = f"/calendars/{self._home(email)}" if self.platform == "google" else ""
        return f"{of_calendar}/events/{quote(event, safe='')}"
