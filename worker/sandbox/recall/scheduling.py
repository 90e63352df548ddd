"""
Bots on calendar events: attach, share by deduplication key, replace, detach.

A shared bot lives as long as an event is attached to it; an event has at most one bot that is still to go.
Source: docs.recall.ai scheduling guide; open points are switches.
"""

from __future__ import annotations

from datetime import datetime

from worker.sandbox.recall import bots
from worker.sandbox.recall.announcements import announce_events
from worker.sandbox.recall.answers import invalid_overall, refusal
from worker.sandbox.recall.forms import Json
from worker.sandbox.recall.store import BotRecord, BotRef, EventRecord, Workspace


def schedule(
    ws: Workspace,
    event: EventRecord,
    key: str,
    config: Json,
    *,
    join_at: datetime | None,
    meeting_url: str | None,
) -> None:
    """
    Attach the event to the bot of *key*, booking or moving it; repeated, the last configuration counts.

    Raises:
        ApiError: 400 ended, deleted, no link or calendar disconnected; 507 pool empty.
    """
    _check(ws, event, meeting_url)
    at, url = join_at or event.start, meeting_url or event.meeting_url or ""
    own = own_future_bot(ws, event)
    target = _shared_bot(ws, own, key)
    is_elsewhere = target is not None and (target.join_at, target.meeting_url) != (at, url)
    if target is not None and is_elsewhere and not ws.switches.adopt_stable_keys:
        target = None
    may_change = target is not None and _may_change(ws, target, event)
    if target is not None and may_change and target.join_at != at and bots.is_near(ws, at):
        bots.take_adhoc_machine(ws)
    if target is None:
        target = bots.create(ws, meeting_url=url, join_at=at, config=config, managed=True, key=key)
        ws.bot_by_key[key] = target.id
    elif may_change:
        bots.configure(target, config)
        bots.move(ws, target, join_at=at, meeting_url=url)
        ws.note("bot.configured", id=target.id, event_id=event.id)
    if own is not None and own is not target:
        _detach(ws, event, own, "replaced")
    _attach(ws, event, target, at, url)
    _bump(ws, event)


def unschedule(ws: Workspace, event: EventRecord) -> None:
    """
    Detach the event from its bot that is still to go; nothing to detach is fine.

    Raises:
        ApiError: 400 on a deleted event, if the switch says so.
    """
    if event.is_deleted and ws.switches.unschedule_on_deleted_event_refused:
        raise invalid_overall("Cannot unschedule bot as calendar event is deleted.")
    had = len(event.refs)
    detach_future(ws, event, "unscheduled")
    if ws.switches.unschedule_forgets_dispatched:
        event.refs.clear()
    if len(event.refs) != had:
        _bump(ws, event)


def detach_future(ws: Workspace, event: EventRecord, why: str) -> None:
    """Take the event off its bot that is still to go."""
    own = own_future_bot(ws, event)
    if own is not None:
        _detach(ws, event, own, why)


def drop_references(ws: Workspace, bot: BotRecord) -> None:
    """Take a bot out of the `bots[]` of all its events."""
    for event_id in bot.event_ids:
        if event := ws.events.get(event_id):
            event.refs = [ref for ref in event.refs if ref.bot_id != bot.id]
    bot.event_ids.clear()


def follow(ws: Workspace, event: EventRecord) -> None:
    """Move the event's bot to the event's time, for the switch `auto_reschedule`; a shared one stays."""
    bot = own_future_bot(ws, event)
    if bot is not None and bot.event_ids == [event.id] and event.meeting_url is not None:
        bots.move(ws, bot, join_at=event.start, meeting_url=event.meeting_url)
        _attach(ws, event, bot, event.start, event.meeting_url)


def own_future_bot(ws: Workspace, event: EventRecord) -> BotRecord | None:
    """Find the event's bot that has not been sent out."""
    for ref in event.refs:
        bot = ws.bots.get(ref.bot_id)
        if bot is not None and bot.is_scheduled:
            return bot
    return None


def hold_keys(ws: Workspace, keys: set[str]) -> None:
    """
    Claim keys while an operation is on them; `ws.busy_keys` gives them back.

    Raises:
        ApiError: 409, another operation holds one.
    """
    if keys & ws.busy_keys:
        raise refusal(409, "conflict", "Another request for the same deduplication key is in progress.")
    ws.busy_keys |= keys


def future_keys(ws: Workspace, event: EventRecord) -> set[str]:
    """Name the key of the bot that the event is attached to and that is still to go."""
    bot = own_future_bot(ws, event)
    return {bot.deduplication_key} if bot is not None and bot.deduplication_key else set()


def _check(ws: Workspace, event: EventRecord, meeting_url: str | None) -> None:
    # Only the first text is documented; the other three are refusals that the 2026 guide lists.
    calendar = ws.calendars.get(event.calendar_id)
    if event.end <= ws.now():
        raise invalid_overall("Cannot schedule bot as calendar event has ended.")
    if event.is_deleted:
        raise invalid_overall("Cannot schedule bot as calendar event is deleted.")
    if event.spec.cancelled and not event.is_held:
        raise invalid_overall("Cannot schedule bot as calendar event is cancelled.")
    if calendar is None or not calendar.is_connected:
        raise invalid_overall("Cannot schedule bot as calendar is disconnected.")
    if not (meeting_url or event.meeting_url):
        raise invalid_overall("Cannot schedule bot as calendar event has no meeting url.")


def _shared_bot(ws: Workspace, own: BotRecord | None, key: str) -> BotRecord | None:
    if own is not None and own.deduplication_key == key:
        return own
    if ws.switches.deduplication_key_ignored:
        return None
    bot = ws.bots.get(ws.bot_by_key.get(key, ""))
    return bot if bot is not None and bot.is_scheduled else None


def _may_change(ws: Workspace, bot: BotRecord, event: EventRecord) -> bool:
    if ws.switches.shared_bot_config_last_writer_wins or not bot.event_ids:
        return True
    return bot.event_ids[0] == event.id


def _attach(ws: Workspace, event: EventRecord, bot: BotRecord, join_at: datetime, url: str) -> None:
    start = join_at if ws.switches.bot_ref_start_is_join_at else event.start
    ref = BotRef(bot.id, start, bot.deduplication_key or "", url)
    if event.id not in bot.event_ids:
        bot.event_ids.append(event.id)
        ws.note("bot.attached", id=bot.id, event_id=event.id)
    for i, known in enumerate(event.refs):
        if known.bot_id == bot.id:
            event.refs[i] = ref
            return
    event.refs.append(ref)


def _detach(ws: Workspace, event: EventRecord, bot: BotRecord, why: str) -> None:
    event.refs = [ref for ref in event.refs if ref.bot_id != bot.id]
    if event.id in bot.event_ids:
        bot.event_ids.remove(event.id)
    ws.note("bot.detached", id=bot.id, event_id=event.id, why=why)
    if not bot.event_ids:
        bots.delete(ws, bot, why)


def _bump(ws: Workspace, event: EventRecord) -> None:
    if ws.switches.schedule_bumps_updated_at:
        ws.show(event, ws.stamp())
    if ws.switches.schedule_sends_sync_events:
        announce_events(ws, ws.calendars[event.calendar_id], event.updated_at)
