"""A call to the control API as a value, and how its actions find records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.sandbox.recall.store import BotRecord, CalendarRecord, EventRecord, Workspace
from worker.sandbox.recall.world import World


class Unknown(Exception):
    """There is no such calendar, event or bot."""


@dataclass(frozen=True, slots=True)
class Asked:
    world: World
    ws: Workspace
    body: Any
    path: Mapping[str, str]
    query: Mapping[str, str]

    def calendar(self, calendar_id: str | None = None) -> CalendarRecord:
        wanted = calendar_id or self.path["id"]
        calendar = self.ws.calendars.get(wanted)
        if calendar is None:
            raise Unknown(f"no calendar {wanted}")
        return calendar

    def event(self, event_id: str | None = None) -> EventRecord:
        wanted = event_id or self.path["id"]
        event = self.ws.events.get(wanted)
        if event is None:
            raise Unknown(f"no event {wanted}")
        return event

    def bot(self) -> BotRecord:
        bot = self.ws.bots.get(self.path["id"])
        if bot is None:
            raise Unknown(f"no bot {self.path['id']}")
        return bot

    def number(self, name: str, default: int) -> int:
        return int(self.query.get(name, default))
