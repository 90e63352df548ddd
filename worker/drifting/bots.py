"""Look at the bots at the provider and at our slots, and compare them; nothing is changed."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Text, Uuid, any_, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from models.domain.bots import BotState
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want
from worker.drifting.comparing_bots import compare_bots
from worker.drifting.found import Compared
from worker.reviving import of_calendar
from worker.runtime import Runtime
from worker.sweeping import find_astray, find_bots, find_missing

SLOTS = table_of(Slot)
WANTS = table_of(Want)
EVENTS = table_of(CalendarEvent)
CALENDARS = table_of(Calendar)

_CAN_BE_ASKED_FOR = (
    select(WANTS.c.event_id)
    .join(EVENTS, EVENTS.c.id == WANTS.c.event_id)
    .join(CALENDARS, CALENDARS.c.id == EVENTS.c.calendar_id)
    .where(WANTS.c.slot_id == SLOTS.c.id, CALENDARS.c.status == "connected")
    .exists()
)
#: Slots that want a bot, have none, and are at rest: something was lost.
_UNSERVED = select(SLOTS.c.id).where(
    SLOTS.c.is_wanted,
    SLOTS.c.closed_at.is_(None),
    SLOTS.c.bot_id.is_(None),
    SLOTS.c.bot_state == BotState.WANTED,
    SLOTS.c.parked_at.is_(None),
    _CAN_BE_ASKED_FOR,
)


def look_at_bots(rt: Runtime, *, calendar_id: UUID | None = None) -> Compared:
    """
    Compare the bots at the provider with our slots; with those of one calendar when it is named.

    Raises the reactions of the port when the bots cannot be listed. Without a Recall key there are none.
    """
    if rt.bots is None:
        return Compared()
    found = find_bots(rt)
    now = rt.now()
    named = [UUID(bot.slot_id) for bot in found if bot.slot_id is not None]
    live = [bot.bot_id for bot in found]
    with rt.db.begin() as tx:
        astray = {bot.bot_id for bot in find_astray(tx, found)}
        missing = find_missing(tx, set(live), now=now)
        unserved = list(tx.execute(_UNSERVED.where(SLOTS.c.ends_at > now)).scalars())
        concerned = select(SLOTS).where(
            or_(
                SLOTS.c.id == any_(literal([*named, *missing, *unserved], ARRAY(Uuid))),
                SLOTS.c.bot_id == any_(literal(live, ARRAY(Text))),
            )
        )
        if calendar_id is not None:
            concerned = concerned.where(of_calendar(calendar_id))
        slots = tx.execute(concerned).mappings().all()
    if calendar_id is not None:
        own = {slot["bot_id"] for slot in slots} | {str(slot["id"]) for slot in slots}
        found = [bot for bot in found if own & {bot.bot_id, bot.slot_id}]
    return compare_bots(found, slots, astray=astray, missing=missing, unserved=unserved, now=now)
