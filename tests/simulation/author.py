"""
Who edits calendars at the provider, and what should follow from it.

The truth kept here is made of the edits alone; none of the product's code has a part in it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import text

from worker.overrides import set_record
from worker.rulebook import set_default_rules
from worker.sandbox.recall import bots, calendars, events
from worker.sandbox.recall.store import BotRecord, CalendarRecord, EventRecord, Workspace

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_Thing = TypeVar("_Thing")

#: An edit by name, and how often it is chosen.
KINDS = {
    "create": 7, "move": 6, "relink": 3, "share": 4, "delete": 3, "cancel": 2, "undelete": 2,
    "respond": 2, "there_and_back": 2, "move_near": 3, "move_to_past": 1, "move_far": 2, "rule": 2,
    "override": 2, "extend": 1, "lose_grant": 1, "disconnect": 1, "reconnect": 3, "bot_dies": 1,
    "foreign_bot": 1, "outage": 1,
}  # fmt: skip
#: Events enter the provider's window 28 days before they begin; the daily listing finds them then.
SURELY_SEEN = timedelta(days=26)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
#: How long the author waits before an edit, in seconds, and how often.
_PAUSES = ((0.0, 3), (0.05, 2), (0.4, 2), (3.0, 3), (40.0, 3), (6 * _MINUTE, 2), (1.5 * _HOUR, 2),
           (9 * _HOUR, 2), (1.2 * _DAY, 2), (6 * _DAY, 1), (35 * _DAY, 1))  # fmt: skip
_AHEAD = (
    4 * _MINUTE,
    12 * _MINUTE,
    50 * _MINUTE,
    3 * _HOUR,
    8 * _HOUR,
    _DAY,
    2 * _DAY,
    9 * _DAY,
    40 * _DAY,
)
_TITLES = ("weekly sync", "secret plan", "interview")
_RULES: tuple[tuple[str, ...], ...] = ((), ("secret",), ("interview",))


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit as planned: what, after how long, and four numbers in [0, 1) that say the rest."""

    number: int
    kind: str
    pause_s: float
    draws: tuple[float, float, float, float]

    def __str__(self) -> str:
        return f"edit {self.number}: {self.kind} after {self.pause_s:g} s"


@dataclass(frozen=True, slots=True)
class Copy:
    """One calendar's copy of a meeting, as its owner knows it."""

    calendar: str
    start: datetime
    end: datetime
    link: str | None
    title: str
    declined: bool = False
    gone: bool = False
    override: bool | None = None


def plan_edits(
    seed: int, most: int, *, kinds_of_edits: Mapping[str, int] = KINDS, of: str = "edits"
) -> list[Edit]:
    """Plan a seed's edits."""
    chance = random.Random(f"{of} of {seed}")
    kinds, weights = list(kinds_of_edits), list(kinds_of_edits.values())
    pauses, often = [pause for pause, _ in _PAUSES], [weight for _, weight in _PAUSES]
    planned = []
    for number in range(chance.randint(most // 2, most)):
        kind = chance.choices(kinds, weights)[0] if number > 1 else "create"
        pause = chance.choices(pauses, often)[0] * (0.7 + 0.6 * chance.random())
        planned.append(
            Edit(number, kind, round(pause, 3), tuple(chance.random() for _ in range(4)))  # type: ignore[arg-type]  # four
        )
    return planned


class Author:
    """Makes the edits, and knows which bots should live."""

    def __init__(self, sim: Simulation, calendar_count: int) -> None:
        self.sim = sim
        self.ws: Workspace = sim.ws
        self.copies: dict[str, Copy] = {}
        self.excluded: tuple[str, ...] = ()
        self.deaths: Counter[tuple[str, datetime]] = Counter()
        self.foreign: list[str] = []
        self.calendars: list[CalendarRecord] = []
        for number in range(calendar_count):
            platform = "microsoft_outlook" if number % 3 == 2 else "google_calendar"
            wish = {
                "platform": platform,
                "oauth_client_id": "client",
                "oauth_client_secret": "secret",
                "oauth_refresh_token": f"rt:person{number}@example.com",
            }
            self.calendars.append(calendars.create(self.ws, wish))

    def make(self, edit: Edit) -> None:
        """Make an edit; one that has nothing to act on is left out."""
        getattr(self, f"_{edit.kind}")(edit.draws)

    def heal(self) -> None:
        """Give back every permission that was lost, so that it is clear what should be."""
        for calendar in self.calendars:
            if not calendar.deleted and calendar.status != "connected":
                self._give_grant(calendar)

    def desired(self, now: datetime) -> set[tuple[str, datetime]]:
        """Return the seats, link and start, of meetings ahead that call for a bot."""
        return {
            (copy.link, copy.start)
            for ref, copy in self.copies.items()
            if copy.link and now < copy.start and self._is_wanted(ref, copy)
        }

    def amiss(self, now: datetime) -> str | None:
        """Say what of the provider's bots is not as it should be, None when all is well."""
        wanted = self.desired(now)
        own = [bot for bot in self.ws.live_bots() if "punctual_slot" in bot.metadata]
        ahead = Counter((bot.meeting_url, bot.join_at) for bot in own if bot.is_scheduled)
        distant = {seat for seat in wanted if seat[1] > now + SURELY_SEEN}
        for seat in sorted(wanted):
            standing = ahead.pop(seat, 0)
            least = 0 if self.deaths[seat] or seat in distant else 1
            if not least <= standing <= 1:
                return f"{standing} bots for {_shown(seat)}, which calls for one"
        late = {seat for seat in ahead if seat[1] > now and not self._is_uncertain(seat)}
        if late:
            return f"a bot for {_shown(min(late))}, which calls for none"
        return self._amiss_in_calls(own, now)

    def _is_uncertain(self, _seat: tuple[str, datetime]) -> bool:
        """Say whether a seat may have a bot although nobody wants it."""
        return False

    def _amiss_in_calls(self, own: Sequence[BotRecord], now: datetime) -> str | None:
        begun = {
            copy.link for copy in self.copies.values() if not copy.gone and copy.start <= now
        }  # fmt: skip
        for bot in own:
            if bot.is_scheduled or bot.state == "call_ended":
                continue
            if bot.meeting_url not in begun:
                return f"bot {bot.id} stays in a call that nobody wants, {bot.meeting_url}"
        return None

    def _is_wanted(self, ref: str, copy: Copy) -> bool:
        row = self.ws.events.get(ref)
        calendar = self.ws.calendars[copy.calendar]
        if copy.gone or row is None or not row.is_visible or not calendar.is_connected:
            return False
        if copy.override is not None:
            return copy.override
        return not copy.declined and not any(word in copy.title for word in self.excluded)

    # The edits, each by four numbers

    def _create(self, draws: Sequence[float]) -> None:
        calendar = self._pick(self.calendars, draws[0])
        start = self._ahead(draws[1])
        link = None if draws[2] > 0.93 else self._link(draws[2])
        title = _TITLES[int(draws[3] * 3)]
        self._put(Copy(calendar.id, start, start + timedelta(minutes=30), link, title))

    def _share(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            _, copy = found
            calendar = self._pick(self.calendars, draws[1])
            self._put(replace(copy, calendar=calendar.id, declined=False, override=None))

    def _move(self, draws: Sequence[float]) -> None:
        self._move_to(draws[0], self._ahead(draws[1]))

    def _move_near(self, draws: Sequence[float]) -> None:
        self._move_to(draws[0], self.sim.now() + timedelta(seconds=30 + 560 * draws[1]))

    def _move_to_past(self, draws: Sequence[float]) -> None:
        self._move_to(draws[0], self.sim.now() - timedelta(minutes=20 + 100 * draws[1]))

    def _move_far(self, draws: Sequence[float]) -> None:
        self._move_to(draws[0], self.sim.now() + timedelta(days=28, hours=1 + 40 * draws[1]))

    def _there_and_back(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            ref, copy = found
            self._change(ref, start=self._ahead(draws[1]))
            back_s = (0.02, 0.3, 2.0, 20.0)[int(draws[2] * 4)]
            self.sim.after(back_s, lambda: self._go_back(ref, copy))

    def _go_back(self, ref: str, copy: Copy) -> None:
        if not self.copies[ref].gone:
            self._change(ref, start=copy.start, end=copy.end)

    def _relink(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            self._change(found[0], link=self._link(draws[1]))

    def _extend(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            ref, copy = found
            self._change(ref, start=copy.start, end=copy.end + timedelta(minutes=30))

    def _respond(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            ref, copy = found
            declined = not copy.declined
            self._write(ref, {"own_response": "declined" if declined else "accepted"})
            self.copies[ref] = replace(copy, declined=declined)

    def _delete(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            event = self.ws.events[found[0]]
            events.remove(event)
            events.show(self.ws, [event])
            self._know(found[0], gone=True)

    def _cancel(self, draws: Sequence[float]) -> None:
        if found := self._living(draws[0]):
            event = self.ws.events[found[0]]
            events.cancel(event)
            events.show(self.ws, [event])
            self._know(found[0], gone=True)

    def _undelete(self, draws: Sequence[float]) -> None:
        gone = [ref for ref, copy in self.copies.items() if copy.gone and ref in self.ws.events]
        if gone:
            ref = self._pick(gone, draws[0])
            event = self.ws.events[ref]
            event.spec = replace(event.spec, deleted=False, cancelled=False)
            event.is_held = True
            events.show(self.ws, [event])
            self._know(ref, gone=False)

    def _rule(self, draws: Sequence[float]) -> None:
        self.excluded = self._pick(_RULES, draws[0])
        set_default_rules(self.sim.rt, {"select": ["all"], "title_excludes": list(self.excluded)})

    def _override(self, draws: Sequence[float]) -> None:
        if not (found := self._living(draws[0])):
            return
        ref, copy = found
        with self.sim.rt.db.begin() as tx:
            event_id = tx.execute(
                text("SELECT id FROM calendar_events WHERE external_id = :ref"), {"ref": ref}
            ).scalar_one_or_none()
        if event_id is not None:
            word = self._pick((True, False, None), draws[1])
            set_record(self.sim.rt, event_id, record=word, scope="occurrence")
            self.copies[ref] = replace(copy, override=word)

    def _lose_grant(self, draws: Sequence[float]) -> None:
        self._disconnect_for(draws, "invalid_grant")

    def _disconnect(self, draws: Sequence[float]) -> None:
        self._disconnect_for(draws, "the user removed the app")

    def _reconnect(self, draws: Sequence[float]) -> None:
        lost = [one for one in self.calendars if not one.deleted and one.status == "disconnected"]
        if lost:
            self._give_grant(self._pick(lost, draws[0]))

    def _bot_dies(self, draws: Sequence[float]) -> None:
        own = [bot for bot in self.ws.live_bots() if "punctual_slot" in bot.metadata]
        if own:
            bot = self._pick(own, draws[0])
            self.deaths[bot.meeting_url, bot.join_at] += 1
            bots.enter(self.ws, bot, "fatal")

    def _foreign_bot(self, draws: Sequence[float]) -> None:
        bot = bots.create(
            self.ws,
            meeting_url=self._link(draws[0]),
            join_at=self.sim.now() + timedelta(days=200),
            config={"metadata": {"whose": "somebody else's"}},
            managed=False,
        )
        self.foreign.append(bot.id)

    def _outage(self, draws: Sequence[float]) -> None:
        self.sim.provider.fail_for(timedelta(seconds=20 + 900 * draws[0] ** 3))

    # Their parts

    def _put(self, copy: Copy) -> None:
        calendar = self.ws.calendars[copy.calendar]
        if calendar.deleted:
            return
        wish = {
            "title": copy.title,
            "start": copy.start.isoformat(),
            "end": copy.end.isoformat(),
            "link": copy.link,
            "organizer": "host@elsewhere.org",
            "own_response": "accepted",
        }
        event = events.create(self.ws, calendar, wish)
        events.show(self.ws, [event])
        self.copies[event.id] = copy

    def _move_to(self, draw: float, start: datetime) -> None:
        if found := self._living(draw):
            self._change(found[0], start=start.replace(microsecond=0))

    def _change(self, ref: str, **fields: datetime | str | None) -> None:
        copy = self.copies[ref]
        start, end = fields.get("start"), fields.get("end")
        if isinstance(start, datetime) and end is None:
            fields["end"] = start + (copy.end - copy.start)
        self._write(
            ref,
            {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in fields.items()
            },
        )
        self._know(ref, **fields)

    def _write(self, ref: str, wish: dict[str, str | None]) -> None:
        event: EventRecord = self.ws.events[ref]
        events.edit(self.ws, event, wish)
        events.show(self.ws, [event])

    def _know(self, ref: str, **fields: object) -> None:
        self.copies[ref] = replace(self.copies[ref], **fields)  # type: ignore[arg-type]  # named above

    def _disconnect_for(self, draws: Sequence[float], reason: str) -> None:
        connected = [one for one in self.calendars if one.is_connected]
        if len(connected) > 1:
            calendars.disconnect(self.ws, self._pick(connected, draws[0]), reason)

    def _give_grant(self, calendar: CalendarRecord) -> None:
        calendar.credentials["oauth_refresh_token"] = f"rt:{calendar.platform_email}"
        calendars.connect_now(self.ws, calendar)

    def _living(self, draw: float) -> tuple[str, Copy] | None:
        now = self.sim.now()
        living = [
            (ref, copy)
            for ref, copy in self.copies.items()
            if not copy.gone and copy.end > now - timedelta(hours=20) and ref in self.ws.events
        ]
        return self._pick(living, draw) if living else None

    def _pick(self, things: Sequence[_Thing], draw: float) -> _Thing:
        return things[int(draw * len(things))]

    def _ahead(self, draw: float) -> datetime:
        which = draw * len(_AHEAD)
        wait = timedelta(seconds=_AHEAD[int(which)] * (1 + (which % 1) * 0.2))
        return (self.sim.now() + wait).replace(second=0, microsecond=0)

    def _link(self, draw: float) -> str:
        letter = "abcdef"[int(draw * 100) % 6]
        return f"https://meet.google.com/sim-ulat-{letter * 3}"


def _shown(seat: tuple[str, datetime]) -> str:
    return f"{seat[0]} at {seat[1]:%d %b %H:%M:%S}"
