"""Whatever happens to calendars: who follows the changes ends with what a full list shows."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.sandbox.google.driving import ANNA, BEN, CARLA, Google, a_series, guests

PEOPLE = (ANNA, BEN, CARLA)
RULES = (
    "RRULE:FREQ=DAILY;COUNT=5",
    "RRULE:FREQ=DAILY;INTERVAL=2",
    "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20261210T000000Z",
)


@dataclass(slots=True)
class Follower:
    """A client that keeps a copy by sync tokens alone."""

    google: Google
    email: str
    single: str
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    token: str = ""

    def follow(self) -> None:
        query: dict[str, Any] = {"singleEvents": self.single, "maxResults": 7}
        if self.token:
            query["syncToken"] = self.token
        found = self.google.everything(by=self.email, **query)
        assert len(found.ids) == len(set(found.ids)), "the same event twice in one list"
        # A series that is gone takes its exceptions along, but for those that the same list still has.
        for item in sorted(found.items, key=lambda item: "recurringEventId" in item):
            self._take(item)
        self.token = found.token

    def _take(self, item: dict[str, Any]) -> None:
        is_part = "recurringEventId" in item and item["recurringEventId"] in self.known
        if item["status"] != "cancelled" or (is_part and self.single == "false"):
            self.known[item["id"]] = item
            return
        self.known.pop(item["id"], None)
        for event_id, row in list(self.known.items()):
            if row.get("recurringEventId") == item["id"]:
                del self.known[event_id]

    def check(self) -> None:
        """
        Compare what is kept with a full list.

        Cancelled exceptions of times that a series no longer has may be kept; nobody would notice.
        """
        found = self.google.everything(by=self.email, singleEvents=self.single)
        truth = {item["id"]: essence(item) for item in found.items}
        known = {event_id: essence(item) for event_id, item in self.known.items()}
        assert live(known) == live(truth), (self.email, self.single)
        assert truth.keys() - live(truth).keys() <= known.keys() - live(known).keys()


def live(rows: dict[str, object]) -> dict[str, object]:
    return {event_id: row for event_id, row in rows.items() if row != "cancelled"}


def essence(item: dict[str, Any]) -> object:
    if item["status"] == "cancelled":
        return "cancelled"
    names = ("status", "summary", "start", "end", "recurrence", "attendees", "originalStartTime")
    return {name: item.get(name) for name in names}


class Story:
    """Things that people do to their calendars, at random."""

    def __init__(self, google: Google, seed: int) -> None:
        self.google, self.chance = google, random.Random(seed)

    def happen(self) -> None:
        deeds = (
            self._invite,
            self._repeat,
            self._rename,
            self._move,
            self._delete,
            self._answer,
            self._restore,
            self._split,
            self._shorten,
        )
        self.chance.choice(deeds)()

    def _guests(self) -> list[dict[str, str]]:
        return guests(*self.chance.sample(PEOPLE, self.chance.randint(0, 3)))

    def _hour(self) -> str:
        return f"2026-11-{self.chance.randint(23, 28)}T{self.chance.randint(8, 17):02}:00:00"

    def _times(self) -> dict[str, Any]:
        start = self._hour()
        end = start.replace(":00:00", ":30:00")
        return {
            name: {"dateTime": text, "timeZone": "Europe/Berlin"}
            for name, text in (("start", start), ("end", end))
        }

    def _any(self, *, by: str, single: str = "true", **query: str) -> str | None:
        ids = self.google.everything(by=by, singleEvents=single, **query).ids
        return self.chance.choice(ids) if ids else None

    def _someone(self) -> str:
        return self.chance.choice(PEOPLE)

    def _invite(self) -> None:
        self.google.insert(by=self._someone(), attendees=self._guests(), **self._times())

    def _repeat(self) -> None:
        body = a_series(self.chance.choice(RULES), attendees=self._guests()) | self._times()
        self.google.insert(by=self._someone(), **body)

    def _patch(self, body: dict[str, Any], *, single: str, **query: str) -> None:
        by = self._someone()
        event_id = self._any(by=by, single=single, **query)
        if event_id is not None:
            answer = self.google.call("PATCH", f"calendars/primary/events/{event_id}", by=by, json=body)
            assert answer.status_code < 500, answer.text

    def _rename(self) -> None:
        body: dict[str, Any] = {"summary": f"Name {self.chance.random()}"}
        if self.chance.random() < 0.4:
            body["attendees"] = self._guests()
        self._patch(body, single=self.chance.choice(("true", "false")))

    def _move(self) -> None:
        self._patch(self._times(), single=self.chance.choice(("true", "false")))

    def _restore(self) -> None:
        self._patch({"status": "confirmed"}, single="false", showDeleted="true")

    def _shorten(self) -> None:
        rule = self.chance.choice((*RULES, "RRULE:FREQ=DAILY;COUNT=2"))
        self._patch({"recurrence": [rule]}, single="false", q="Daily")

    def _delete(self) -> None:
        by = self._someone()
        event_id = self._any(by=by, single=self.chance.choice(("true", "false")))
        if event_id is not None:
            answer = self.google.delete(event_id, by=by)
            assert answer.status_code in (204, 410), answer.text

    def _answer(self) -> None:
        by = self._someone()
        event_id = self._any(by=by, single=self.chance.choice(("true", "false")))
        if event_id is not None:
            response = self.chance.choice(("accepted", "declined", "tentative"))
            path = f"/_emulator/calendars/{by}/events/{event_id}/respond"
            self.google.raw("POST", path, json={"response": response})

    def _split(self) -> None:
        by = self._someone()
        event_id = self._any(by=by)
        if event_id is not None and "_" in event_id:
            path = f"/_emulator/calendars/{by}/events/{event_id.rpartition('_')[0]}/split"
            self.google.raw("POST", path, json={"at": event_id})


@pytest.mark.parametrize("seed", range(12))
def test_following_the_changes_ends_with_what_a_full_list_shows(seed: int) -> None:
    google = Google()
    google.world.mailbox(google.world.oauth.add_account(CARLA))
    google.limit(quota_enabled=False, expansion_days=30.0)
    google.switch(
        deleted_series_tells_exceptions=bool(seed % 2),
        deleted_series_as=("instances", "master", "both")[seed % 3],
    )
    followers = [Follower(google, email, single) for email in PEOPLE for single in ("true", "false")]
    story = Story(google, seed)

    for _ in range(12):
        for _ in range(story.chance.randint(1, 6)):
            story.happen()
        for follower in followers:
            follower.follow()

            follower.check()
