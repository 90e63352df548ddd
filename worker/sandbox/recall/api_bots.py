"""
`/api/v1/bot/`: bots that the client manages itself.

Source: docs.recall.ai reference, bot_*; errors; idempotency.
"""

from __future__ import annotations

from datetime import timedelta

from worker.sandbox.recall import bots, scheduling
from worker.sandbox.recall.answers import Answer, Call, invalid, not_found, refusal
from worker.sandbox.recall.api_calendars import (
    REQUIRED,
    asked_instant,
    choice,
    link_with,
    refuse_unknown_query,
)
from worker.sandbox.recall.forms import Json, instant
from worker.sandbox.recall.links import link_object, platform_of
from worker.sandbox.recall.store import BotRecord, Workspace, is_between

NAME_LIMIT = 100
# What comes back as it was sent. Anything unknown is ignored, as serializers do.
CONFIGURABLE = (
    "recording_config", "output_media", "automatic_video_output", "automatic_audio_output", "chat",
    "automatic_leave", "variant", "zoom", "google_meet", "breakout_room",
)  # fmt: skip
STATUSES = tuple(sorted(bots.STATES - bots.BEFORE_CALL))
_QUERY = {
    "join_at_after",
    "join_at_before",
    "meeting_url",
    "page",
    "platform",
    "platform[]",
    "status",
    "status[]",
}


def create(ws: Workspace, call: Call) -> Answer:
    """Book a bot, or send one at once when no join time is given."""
    body = dict(call.body)
    errors = checked_config(body)
    if "meeting_url" not in body:
        errors["meeting_url"] = [REQUIRED]
    _refuse(ws, errors)
    join_at = instant(body["join_at"]) if body.get("join_at") else None
    if join_at is not None and join_at < ws.now() and ws.switches.past_join_at_refused:
        _refuse(ws, {"join_at": ["join_at must be in the future."]})
    bot = bots.create(ws, meeting_url=body["meeting_url"], join_at=join_at, config=body, managed=False)
    ws.tick()  # a bot that joins at once is on its way before the answer
    return Answer(201, shown(ws, bot))


def retrieve(ws: Workspace, call: Call) -> Answer:
    """Show one bot."""
    return Answer(200, shown(ws, _found(ws, call.id)))


def update(ws: Workspace, call: Call) -> Answer:
    """Change a scheduled bot; a new join time must itself be more than ten minutes away."""
    bot = _found(ws, call.id)
    if bot.managed:
        raise refusal(
            400, "update_bot_failed", "Bots scheduled through a calendar event cannot be updated here."
        )
    if not bot.is_scheduled:
        raise refusal(400, "update_bot_failed", "Cannot validate partial without join call task")
    changes = dict(call.body)
    _refuse(ws, checked_config(changes))
    join_at = instant(changes["join_at"]) if changes.get("join_at") else bot.join_at
    if join_at != bot.join_at and bots.is_near(ws, join_at):
        raise refusal(400, "update_bot_failed", "Not enough time to launch new bot")
    bots.configure(bot, {"bot_name": bot.bot_name, "metadata": bot.metadata} | bot.config | changes)
    bots.move(ws, bot, join_at=join_at, meeting_url=changes.get("meeting_url", bot.meeting_url))
    ws.note("bot.configured", id=bot.id)
    return Answer(200, shown(ws, bot))


def delete(ws: Workspace, call: Call) -> Answer:
    """Delete a bot that was not sent out yet."""
    bot = _found(ws, call.id)
    if not bot.is_scheduled:
        raise refusal(405, "method_not_allowed", "Cannot delete a bot that was dispatched already.")
    if bot.managed and ws.switches.delete_on_managed_bot == "refused":
        raise refusal(
            400, "delete_bot_failed", "Bots scheduled through a calendar event cannot be deleted here."
        )
    if ws.switches.delete_on_managed_bot != "leaves_reference":
        scheduling.drop_references(ws, bot)
    bots.delete(ws, bot, "deleted by client")
    return Answer(204)


def leave_call(ws: Workspace, call: Call) -> Answer:
    """Take a bot out of its call for good."""
    bot = _found(ws, call.id)
    bots.leave_call(ws, bot)
    return Answer(200, shown(ws, bot))


def delete_media(ws: Workspace, call: Call) -> Answer:
    """Forget what a bot recorded."""
    bot = _found(ws, call.id)
    bot.recording_id = None
    return Answer(200, shown(ws, bot))


def list_(ws: Workspace, call: Call) -> Answer:
    """List by page number; deleted bots do not show, new ones perhaps not yet."""
    metadata = {
        key.removeprefix("metadata__"): values[-1]
        for key, values in call.query.items()
        if key.startswith("metadata__")
    }
    refuse_unknown_query(ws, call, _QUERY | {f"metadata__{key}" for key in metadata})
    after, before = asked_instant(call, "join_at_after"), asked_instant(call, "join_at_before")
    platforms = {*call.query.get("platform", ()), *call.query.get("platform[]", ())}
    statuses = {*call.query.get("status", ()), *call.query.get("status[]", ())}
    for status in statuses:
        choice(status, "status", STATUSES)
    url = call.one("meeting_url")
    shown_by = ws.now() - timedelta(seconds=ws.switches.bot_list_lag_s)

    def fits(bot: BotRecord) -> bool:
        return (
            bot.deleted_at is None
            and (ws.switches.bot_list_lag_s <= 0 or bot.created_at <= shown_by)
            and (
                (after is None and before is None)
                or (_shows_join_at(bot) and is_between(bot.join_at, after, before))
            )
            and (url is None or bot.meeting_url == url)
            and (not platforms or platform_of(bot.meeting_url) in platforms)
            and (not statuses or _status(bot) in statuses)
            and all(bot.metadata.get(key) == value for key, value in metadata.items())
        )

    order = ws.switches.bots_order
    rows = [bot for bot in ws.bots.values() if fits(bot)]
    rows.sort(key=lambda bot: getattr(bot, order.removeprefix("-")), reverse=order.startswith("-"))
    return _numbered_page(ws, call, rows)


def checked_config(config: Json) -> dict[str, list[str]]:
    """Collect the errors of a bot configuration by field; unknown fields are no error."""
    errors: dict[str, list[str]] = {}
    url, name, join_at, metadata = (
        config.get(each) for each in ("meeting_url", "bot_name", "join_at", "metadata")
    )
    if "meeting_url" in config and (not isinstance(url, str) or platform_of(url) is None):
        errors["meeting_url"] = ["Enter a valid meeting URL of a supported platform."]
    if name is not None and not isinstance(name, str):
        errors["bot_name"] = ["Not a valid string."]
    elif name is not None and len(name) > NAME_LIMIT:
        errors["bot_name"] = [f"Ensure this field has no more than {NAME_LIMIT} characters."]
    if join_at is not None:
        try:
            instant(join_at)
        except ValueError:
            errors["join_at"] = ["Datetime has wrong format. Use ISO 8601."]
    if metadata is not None and not _is_metadata(metadata):
        errors["metadata"] = ["Values are strings or null."]
    for field in CONFIGURABLE:
        if config.get(field) is not None and not isinstance(config[field], dict):
            errors[field] = ["Invalid data. Expected a dictionary."]
    return errors


def shown(ws: Workspace, bot: BotRecord) -> Json:
    """Render the bot; its meeting_url is an object here, and join_at is gone once it joined."""
    row: Json = {
        "id": bot.id,
        "meeting_url": link_object(bot.meeting_url),
        "bot_name": bot.bot_name,
        "join_at": ws.text(bot.join_at) if _shows_join_at(bot) else None,
        "status_changes": bot.status_changes,
        "recordings": [_recording(ws, bot)] if bot.recording_id else [],
        "calendar_meetings": [],
        "slack_team": None,
        "metadata": bot.metadata,
    }
    return row | {name: bot.config.get(name) for name in CONFIGURABLE}


def _recording(ws: Workspace, bot: BotRecord) -> Json:
    started = next(
        (each["created_at"] for each in bot.status_changes if each["code"] == "in_call_recording"), None
    )
    ended = ws.text(bot.ended_at) if bot.ended_at else None
    status = {
        "code": "done" if ended else "processing",
        "sub_code": None,
        "updated_at": ended or started,
    }
    return {
        "id": bot.recording_id,
        "created_at": started,
        "started_at": started,
        "completed_at": ended,
        "expires_at": None,
        "status": status,
        "media_shortcuts": None,
        "metadata": {},
    }


def _shows_join_at(bot: BotRecord) -> bool:
    return bot.asked_to_join_at is not None and bot.state in bots.BEFORE_CALL


def _status(bot: BotRecord) -> str:
    return "ready" if bot.state in bots.BEFORE_CALL else bot.state


def _is_metadata(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str | None) for each in value.values())


def _found(ws: Workspace, bot_id: str) -> BotRecord:
    bot = ws.bots.get(bot_id)
    if bot is None or bot.deleted_at is not None:
        raise not_found("Bot")
    return bot


def _refuse(ws: Workspace, errors: dict[str, list[str]]) -> None:
    if errors:
        raise invalid(errors, plain=ws.switches.plain_field_errors)


def _numbered_page(ws: Workspace, call: Call, rows: list[BotRecord]) -> Answer:
    size = ws.limits.bots_page_size
    text = call.one("page") or "1"
    number = int(text) if text.isdecimal() else 0
    if number < 1 or (number - 1) * size >= max(1, len(rows)):
        raise refusal(404, "not_found", "Invalid page.")
    start = (number - 1) * size
    has_next = start + size < len(rows)
    return Answer(
        200,
        {
            "count": len(rows),
            "next": link_with(ws, call, "page", str(number + 1)) if has_next else None,
            "previous": link_with(ws, call, "page", str(number - 1)) if number > 1 else None,
            "results": [shown(ws, bot) for bot in rows[start : start + size]],
        },
    )
