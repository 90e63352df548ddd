"""
The life of a bot: booked, moved, deleted, sent out, in the call, done.

Sources: docs.recall.ai creating-and-scheduling-bots, bot-status-change-events, sub-codes, errors.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from worker.sandbox.recall.answers import refusal
from worker.sandbox.recall.forms import Json
from worker.sandbox.recall.store import BotRecord, Workspace

ENDED = frozenset({"done", "fatal", "analysis_done", "analysis_failed", "media_expired"})
BEFORE_CALL = frozenset({"scheduled", "dispatched"})
STATES = BEFORE_CALL | ENDED | {
    "ready", "joining_call", "in_waiting_room", "in_call_not_recording", "recording_permission_allowed",
    "recording_permission_denied", "in_call_recording", "recording_done", "call_ended",
}  # fmt: skip
# bot.<code> webhooks that the catalogue of event types knows.
ANNOUNCED = frozenset({
    "joining_call", "in_waiting_room", "in_call_not_recording", "recording_permission_allowed",
    "recording_permission_denied", "in_call_recording", "call_ended", "done", "fatal",
})  # fmt: skip

# Codes whose webhook has no null sub_code in the catalogue.
NEVER_NULL = {
    "fatal": "bot_errored",
    "call_ended": "call_ended_by_host",
    "recording_permission_denied": "permission_denied_by_host",
}


def is_near(ws: Workspace, join_at: datetime) -> bool:
    """Tell whether a bot for *join_at* must come from the ad-hoc pool."""
    return join_at - ws.now() < timedelta(seconds=ws.limits.adhoc_s)


def take_adhoc_machine(ws: Workspace) -> None:
    """Raises ApiError: 507, the pool is empty."""
    if not ws.pool.has_given(ws.now(), ws.limits):
        detail = "No bots are available in the ad-hoc bot pool. Try again later."
        raise refusal(507, "adhoc_pool_depleted", detail, retry_after_s=ws.limits.pool_retry_after_s)


def create(
    ws: Workspace,
    *,
    meeting_url: str,
    join_at: datetime | None,
    config: Json,
    managed: bool,
    key: str | None = None,
) -> BotRecord:
    """
    Book a bot; *join_at* None sends it at once.

    Raises:
        ApiError: 507, it has to come from the pool and the pool is empty.
    """
    at = join_at or ws.now()
    if is_near(ws, at):
        take_adhoc_machine(ws)
    bot = BotRecord(
        id=ws.new_id(),
        meeting_url=meeting_url,
        bot_name="",
        join_at=at,
        config={},
        metadata={},
        managed=managed,
        created_at=ws.stamp(),
        deduplication_key=key,
        asked_to_join_at=join_at,
    )
    configure(bot, config)
    ws.bots[bot.id] = bot
    if ws.switches.scheduled_bot_has_ready_status:
        bot.status_changes.append(_change(ws, "ready", None))
    ws.note(
        "bot.created",
        id=bot.id,
        managed=managed,
        join_at=ws.text(at),
        meeting_url=meeting_url,
        key=key,
        metadata=bot.metadata,
    )
    plan(ws, bot)
    return bot


def configure(bot: BotRecord, config: Json) -> None:
    """Replace the whole configuration."""
    bot.config = {
        name: value for name, value in config.items() if name not in ("meeting_url", "join_at")
    }
    bot.bot_name = config.get("bot_name") or "Meeting Notetaker"
    bot.metadata = dict(config.get("metadata") or {})


def move(ws: Workspace, bot: BotRecord, *, join_at: datetime, meeting_url: str) -> None:
    """Change time or place of a bot that is not on its way; nothing changed is fine."""
    if (bot.join_at, bot.meeting_url) == (join_at, meeting_url):
        return
    bot.join_at = bot.asked_to_join_at = join_at
    bot.meeting_url = meeting_url
    ws.note("bot.moved", id=bot.id, join_at=ws.text(join_at), meeting_url=meeting_url)
    plan(ws, bot)


def delete(ws: Workspace, bot: BotRecord, why: str) -> None:
    """Take a bot away before it leaves; its key is free again."""
    bot.deleted_at = ws.now()
    bot.plan += 1
    if bot.deduplication_key and ws.bot_by_key.get(bot.deduplication_key) == bot.id:
        del ws.bot_by_key[bot.deduplication_key]
    ws.note("bot.deleted", id=bot.id, why=why)


def plan(ws: Workspace, bot: BotRecord) -> None:
    """Put the next step of a scheduled bot on the agenda."""
    bot.plan += 1
    if ws.switches.bots_progress:
        at = bot.join_at - timedelta(seconds=ws.limits.dispatch_before_s)
        _later(ws, bot, max(at, ws.now()), "dispatched")


def enter(ws: Workspace, bot: BotRecord, code: str, sub_code: str | None = None) -> None:
    """Bring the bot into a state, tell by webhook, and plan the state after it."""
    bot.plan += 1
    bot.state = code
    ws.note("bot.state", id=bot.id, code=code, sub_code=sub_code)
    if code in BEFORE_CALL:
        if code == "dispatched" and ws.switches.bots_progress:
            _later(ws, bot, max(bot.join_at, ws.now()), "joining_call")
        return
    change = _change(ws, code, sub_code)
    bot.status_changes.append(change)
    if code in ENDED:
        bot.ended_at = bot.ended_at or ws.now()
    _announce(ws, bot, code, sub_code, change["created_at"])
    if ws.switches.bots_progress:
        _plan_after(ws, bot, code)


def leave_call(ws: Workspace, bot: BotRecord) -> None:
    """
    Take the bot out of its call.

    Raises:
        ApiError: 400, not started or over.
    """
    if bot.state == "scheduled" or bot.deleted_at is not None:
        raise refusal(
            400,
            "cannot_command_unstarted_bot",
            "Cannot send a command to a bot which has not been started.",
        )
    if bot.state in ENDED or bot.state == "call_ended":
        raise refusal(
            400, "cannot_command_completed_bot", "Cannot send a command to a bot which has completed."
        )
    enter(ws, bot, "call_ended", "bot_received_leave_call")


def _plan_after(ws: Workspace, bot: BotRecord, code: str) -> None:
    limits, now = ws.limits, ws.now()
    match code:
        case "joining_call" if limits.waiting_room_s > 0:
            _later(ws, bot, now + timedelta(seconds=limits.join_s), "in_waiting_room")
        case "joining_call":
            _later(ws, bot, now + timedelta(seconds=limits.join_s), "in_call_not_recording")
        case "in_waiting_room":
            _later(ws, bot, now + timedelta(seconds=limits.waiting_room_s), "in_call_not_recording")
        case "in_call_not_recording" | "recording_permission_allowed":
            _later(ws, bot, now + timedelta(seconds=limits.settle_s), "in_call_recording")
        case "in_call_recording":
            _later(ws, bot, max(_end_of_call(ws, bot), now), "call_ended", "call_ended_by_host")
        case "call_ended":
            _later(ws, bot, now + timedelta(seconds=limits.wrap_up_s), "done")


def _end_of_call(ws: Workspace, bot: BotRecord) -> datetime:
    ends = [ws.events[each].end for each in bot.event_ids if each in ws.events]
    return max(ends, default=bot.join_at + timedelta(seconds=ws.limits.call_s))


def _later(ws: Workspace, bot: BotRecord, at: datetime, code: str, sub_code: str | None = None) -> None:
    planned = bot.plan

    def step() -> None:
        if bot.plan == planned and bot.deleted_at is None:
            enter(ws, bot, code, sub_code)

    ws.agenda.add(at, step)


def _change(ws: Workspace, code: str, sub_code: str | None) -> Json:
    empty = None if ws.switches.null_sub_codes else ""
    return {
        "code": code,
        "message": empty,
        "sub_code": sub_code or empty,
        "created_at": ws.text(ws.now()),
    }


def _announce(ws: Workspace, bot: BotRecord, code: str, sub_code: str | None, at: str) -> None:
    sub_code = sub_code or NEVER_NULL.get(code)
    if ws.switches.legacy_bot_webhooks:
        status = {"code": code, "created_at": at, "message": None, "sub_code": sub_code}
        ws.send("bot.status_change", {"bot_id": bot.id, "status": status}, bot_id=bot.id)
    elif code in ANNOUNCED:
        status = {"code": code, "sub_code": sub_code, "updated_at": at}
        ws.send(
            f"bot.{code}",
            {"data": status, "bot": {"id": bot.id, "metadata": bot.metadata}},
            bot_id=bot.id,
        )
    if code == "in_call_recording" and bot.recording_id is None:
        bot.recording_id = ws.new_id()
    recorded = {"in_call_recording": "processing", "done": "done"}.get(code)
    if ws.switches.recording_webhooks and recorded and bot.recording_id:
        ref = {"id": bot.id, "metadata": bot.metadata}
        status = {"code": recorded, "sub_code": None, "updated_at": at}
        data = {"data": status, "recording": {"id": bot.recording_id, "metadata": {}}, "bot": ref}
        ws.send(f"recording.{recorded}", data, bot_id=bot.id)
