"""
The story of the demo: what people do in their calendars, and what has to be true afterwards.

What is told is read back from the processes: deliveries, decisions, the provider's own history and
live bots, domain events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from models.domain.times import parse_instant, rfc3339
from worker.commands.events import summary_of
from worker.commands.hands import Hands
from worker.commands.stage import Stage

READY_WITHIN_S = 40.0
TRUE_WITHIN_S = 15.0
LOOK_EVERY_S = 0.1
LINKS = (
    "https://zoom.us/j/84512345678",
    "https://meet.google.com/abc-defg-hij",
    "https://zoom.us/j/91100022233",
)

#: What happened at the provider, in words; other records of its history are no news here.
_AT_PROVIDER = {
    "bot.created": "bot {bot} is booked for {join_at}",
    "bot.moved": "bot {bot} moves to {join_at}, {meeting_url}",
    "bot.attached": "bot {bot} hangs on event {event}",
    "bot.detached": "bot {bot} is off event {event}",
    "bot.deleted": "bot {bot} is gone",
}
_ORDER = ("action", "notification", "decision", "bot", "emitted")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened, in the words of the process that did it."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """One scene as it was: what happened, whether it became true, and how long the bot took."""

    title: str
    is_true: bool
    lines: tuple[Line, ...]
    live_bots: int
    latency_s: float | None


@dataclass(frozen=True, slots=True)
class World:
    """What the product and the provider say right now."""

    live: list[dict[str, Any]]
    bots: list[dict[str, Any]]
    types: frozenset[str]
    hangs_on_events: bool

    def has_bots(
        self, size: int, *, events: int | None = 1, at: str | None = None, link: str | None = None
    ) -> bool:
        """Say whether both sides agree on *size* bots, each for so many events, time and link."""
        counted = [*(self.live if self.hangs_on_events else []), *self.bots]
        return (
            len(self.live) == len(self.bots) == size
            and {bot["id"] for bot in self.live} == {bot["external_id"] for bot in self.bots}
            and all(bot["state"] == "scheduled" for bot in self.bots)
            and (events is None or all(len(bot["event_ids"]) == events for bot in counted))
            and (
                at is None
                or {_instant(bot["join_at"]) for bot in [*self.live, *self.bots]} == {_instant(at)}
            )
            and (link is None or {bot["meeting_url"] for bot in self.live} == {link})
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """What somebody does, and when the world is as it should be after it."""

    title: str
    act: Callable[[], None]
    is_true: Callable[[World], bool]


@dataclass(slots=True)
class Story:
    """The scenes in their order, and what they share."""

    stage: Stage
    hands: Hands
    starts_at: datetime = field(
        default_factory=lambda: (
            datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=3)
        )
    )

    def wait_until_ready(self) -> bool:
        """Wait for the processes; False when they do not come up."""
        end = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < end:
            if self.stage.is_ready():
                return True
            self.stage.pause(LOOK_EVERY_S)
        return False

    def scenes(self) -> Iterator[Scene]:
        """Yield the scenes; each begins after the one before became true."""
        people = self.hands
        # Who plans a meeting calls it off for everybody; who was invited leaves alone.
        first, last = (
            (("Anna", people.anna), ("Ben", people.ben))
            if people.hangs_on_events
            else (("Ben", people.ben), ("Anna", people.anna))
        )
        later = rfc3339(self.starts_at + timedelta(hours=1))
        yield Scene(
            "Anna connects her calendar; every meeting is to be recorded",
            self._begin,
            lambda world: world.has_bots(0) and "calendar.connected" in world.types,
        )
        yield Scene(
            "Anna plans a meeting",
            lambda: people.plan(people.anna, self.starts_at, LINKS[0]),
            lambda world: world.has_bots(1, link=LINKS[0]) and "bot.scheduled" in world.types,
        )
        yield Scene(
            "Ben connects, and has the same meeting in his calendar: still one bot",
            self._share,
            lambda world: world.has_bots(1, events=2),
        )
        yield Scene(
            "The meeting moves by an hour, in both calendars",
            lambda: people.change(start=self.starts_at + timedelta(hours=1)),
            lambda world: world.has_bots(1, events=2, at=later) and "bot.rescheduled" in world.types,
        )
        yield Scene(
            "The meeting gets another link, in both calendars",
            lambda: people.change(link=LINKS[1]),
            lambda world: (
                world.has_bots(1, events=2, at=later, link=LINKS[1])
                and "bot.rescheduled" in world.types
            ),
        )
        yield Scene(
            f"{first[0]} deletes {'her' if first[0] == 'Anna' else 'his'} copy: {last[0]} still wants the bot",
            lambda: people.leave_meeting(first[1]),
            lambda world: world.has_bots(1) and "calendar_event.deleted" in world.types,
        )
        yield Scene(
            f"{last[0]} cancels the meeting: the last one out cancels the bot",
            lambda: people.leave_meeting(last[1]),
            lambda world: world.has_bots(0) and "bot.cancelled" in world.types,
        )
        yield Scene(
            f"{last[0]} plans another meeting",
            lambda: people.plan(last[1], self.starts_at, LINKS[2]),
            lambda world: (
                world.has_bots(1, events=None, link=LINKS[2]) and "bot.scheduled" in world.types
            ),
        )
        yield Scene(
            "Everybody disconnects: nothing is recorded any more",
            self._leave,
            lambda world: world.has_bots(0) and {"bot.cancelled", "calendar.deleted"} <= world.types,
        )

    def play(self, scene: Scene) -> Told:
        """Let one scene happen, wait until it is true, and read back what happened meanwhile."""
        position, history = self._feed_end(), self._history(0)["count"]
        began = datetime.now(UTC)
        lines = [Line(began, "action", scene.title)]
        scene.act()
        end = time.monotonic() + TRUE_WITHIN_S
        told = self._feed(position)
        while not (is_true := scene.is_true(self._look(told))) and time.monotonic() < end:
            self.stage.pause(LOOK_EVERY_S)
            told = self._feed(position)
        records = self._history(history)["records"]
        notified = list(self._notifications(began))
        lines += [*notified, *self._decisions(began), *_provider_lines(records)]
        lines += [
            Line(
                _instant(event["time"]),
                "emitted",
                f"{event['type']} #{event['sequence']}: {summary_of(event)}",
            )
            for event in told
        ]
        lines.sort(key=lambda line: (line.at, _ORDER.index(line.kind)))
        changes = [_instant(record["at"]) for record in records if record["kind"] in _AT_PROVIDER]
        return Told(
            title=scene.title,
            is_true=is_true,
            lines=tuple(lines),
            live_bots=len(self._live()),
            latency_s=_latency_s(notified, changes),
        )

    def live_bots(self) -> int:
        """Count the bots that stand at the provider."""
        return len(self._live())

    def _begin(self) -> None:
        self.stage.ask("PUT", "/v1/rules", select=["all"])
        self._connect(self.hands.anna)

    def _connect(self, email: str) -> None:
        path = f"/v1/calendars/{self.hands.connect(email)}"
        end = time.monotonic() + TRUE_WITHIN_S
        while time.monotonic() < end:
            view = self.stage.ask("GET", path)
            is_read = view["last_synced_at"] and not view["oldest_pending_at"]
            if is_read and self.hands.is_settled(view):
                return
            self.stage.pause(LOOK_EVERY_S)

    def _share(self) -> None:
        self._connect(self.hands.ben)
        self.hands.appear(self.hands.ben, self.starts_at, LINKS[0])

    def _leave(self) -> None:
        for email in (self.hands.anna, self.hands.ben):
            self.hands.disconnect(email)

    def _look(self, told: list[dict[str, Any]]) -> World:
        gone = {"cancelled", "done", "failed"}
        bots = self.stage.ask("GET", "/v1/bots?limit=200")["data"]
        return World(
            live=self._live(),
            bots=[bot for bot in bots if bot["state"] not in gone],
            types=frozenset(event["type"] for event in told),
            hangs_on_events=self.hands.hangs_on_events,
        )

    def _live(self) -> list[dict[str, Any]]:
        live: list[dict[str, Any]] = self.stage.control("GET", "/bots?live=true")
        return live

    def _history(self, after: int) -> dict[str, Any]:
        history: dict[str, Any] = self.stage.control("GET", f"/history?after={after}")
        return history

    def _feed_end(self) -> str | None:
        after = None
        while True:
            page = self.stage.ask("GET", _feed_path(after))
            after = page["next"]
            if not page["data"]:
                return str(after)

    def _feed(self, after: str | None) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = self.stage.ask("GET", _feed_path(after))["data"]
        return told

    def _notifications(self, began: datetime) -> Iterator[Line]:
        found = self.stage.ask("GET", f"/v1/deliveries?limit=100&received_gte={rfc3339(began)}")
        for delivery in found["data"]:
            text = f"{delivery['type']} (delivery {delivery['message_id']}, {delivery['state']})"
            yield Line(_instant(delivery["received_at"]), "notification", text)

    def _decisions(self, began: datetime) -> Iterator[Line]:
        for event in self.stage.ask("GET", "/v1/events?limit=100")["data"]:
            trail = self.stage.ask("GET", f"/v1/events/{event['id']}/why")
            for step in trail["steps"]:
                if step["kind"] == "rule" and _instant(step["at"]) >= began:
                    reason = step["facts"].get("reason")
                    text = f"event {_short(event['id'])}: {step['text']} [{reason}]"
                    yield Line(_instant(step["at"]), "decision", text)


def _provider_lines(records: list[dict[str, Any]]) -> Iterator[Line]:
    for record in records:
        words = _AT_PROVIDER.get(record["kind"])
        if words is not None:
            text = words.format(
                bot=_short(record["id"]),
                event=_short(record.get("event_id", "")),
                join_at=record.get("join_at"),
                meeting_url=record.get("meeting_url"),
            )
            yield Line(_instant(record["at"]), "bot", text)
        elif record["kind"] == "call" and "bot" in record["operation"] and record["method"] != "GET":
            text = f"{record['method']} {record['path'].partition('?')[0]} → {record['status']}"
            yield Line(_instant(record["at"]), "bot", text)


def _latency_s(notified: list[Line], changes: list[datetime]) -> float | None:
    """Return the seconds from the last notification before bots changed to the last of those changes."""
    starts = [line.at for line in notified if changes and line.at <= max(changes)]
    first = next((at for at in sorted(changes) if starts and at >= min(starts)), None)
    if first is None:
        return None
    return (max(changes) - max(at for at in starts if at <= first)).total_seconds()


def _feed_path(after: str | None) -> str:
    return "/v1/feed?limit=200" + (f"&after={after}" if after else "")


def _instant(text: str) -> datetime:
    return parse_instant(text)


def _short(name: str) -> str:
    return f"…{name[-6:]}"
