"""Control of what is inside: summary, history, counts, deliveries and bots."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from worker.sandbox.recall import bots, scheduling
from worker.sandbox.recall.control_calls import Asked, Unknown
from worker.sandbox.recall.forms import Json, instant
from worker.sandbox.recall.store import BotRecord


def state(asked: Asked) -> object:
    """Summarise the workspace in numbers."""
    ws, outgoing = asked.ws, asked.ws.outgoing
    rows = [event for event in ws.events.values() if event.is_visible]
    return {
        "workspace": ws.key,
        "now": ws.text(ws.now()),
        "clock": "virtual" if ws.clock.is_virtual else "real",
        "calendars": dict(
            Counter("deleted" if row.deleted else row.status for row in ws.calendars.values())
        ),
        "events": {
            "visible": len(rows),
            "deleted": sum(row.is_deleted for row in rows),
            "held": sum(row.is_held for row in ws.events.values()),
        },
        "bots": dict(Counter("deleted" if bot.deleted_at else bot.state for bot in ws.bots.values())),
        "live_bots": len(ws.live_bots()),
        "pool_free": ws.pool.free(ws.now(), ws.limits),
        "webhooks": dict(outgoing.counts)
        | {
            "in_flight": outgoing.in_flight,
            "waiting": outgoing.waiting,
            "disabled": outgoing.disabled_at is not None,
        },
        "faults": len(ws.faults.orders),
        "history": ws.history.count,
        "requests": sum(ws.history.requests.values()),
    }


def history(asked: Asked) -> object:
    """List records numbered above `after`, at most `limit` (10000); `kind` keeps kinds that start so."""
    records = asked.ws.history.after(asked.number("after", 0), asked.number("limit", 10_000))
    last = records[-1]["n"] if records else asked.number("after", 0)
    if kind := asked.query.get("kind"):
        records = [record for record in records if record["kind"].startswith(kind)]
    return {"records": records, "last": last, "count": asked.ws.history.count}


def requests(asked: Asked) -> object:
    """Count API calls by operation and status; 0 is a cut connection."""
    return asked.ws.history.request_counts()


def forget_requests(asked: Asked) -> object:
    """Start counting anew."""
    asked.ws.history.requests.clear()
    return {}


def deliveries(asked: Asked) -> object:
    """List messages, newest first: `limit` (1000), `state`, `event` (prefix)."""
    wanted, event = asked.query.get("state"), asked.query.get("event", "")
    fitting = (
        message.shown()
        for message in reversed(asked.ws.outgoing.messages.values())
        if (wanted is None or message.state == wanted) and message.event.startswith(event)
    )
    return list(islice(fitting, asked.number("limit", 1000)))


def replay(asked: Asked) -> object:
    """Send again, ids unchanged: `ids`, or all in `state`, or all since `since`; else everything."""
    body, outgoing = asked.body, asked.ws.outgoing
    ids, wanted = body.get("ids"), body.get("state")
    since = instant(body["since"]) if body.get("since") else None
    chosen = [
        message
        for message in list(outgoing.messages.values())
        if (ids is None or message.id in ids)
        and (wanted is None or message.state == wanted)
        and (since is None or message.created_at >= since)
    ]
    for message in chosen:
        outgoing.replay(message, asked.ws.clock.now())
    return {"replayed": len(chosen)}


def bots_list(asked: Asked) -> object:
    """List bots; `live=true` leaves out deleted and ended ones."""
    only_live = asked.query.get("live", "").lower() in ("true", "1")
    return [_shown(asked, bot) for bot in asked.ws.bots.values() if bot.is_live or not only_live]


def bot_state(asked: Asked) -> object:
    """Bring a bot into state `code` with `sub_code`, webhooks included."""
    bot, code = asked.bot(), asked.body["code"]
    if code not in bots.STATES:
        raise ValueError(f"code is one of {', '.join(sorted(bots.STATES))}")
    if bot.deleted_at is not None:
        raise Unknown(f"bot {bot.id} is deleted")
    bots.enter(asked.ws, bot, code, asked.body.get("sub_code"))
    return _shown(asked, bot)


def bot_delete(asked: Asked) -> object:
    """Make a bot vanish, as if support had removed it; events lose their reference unless `leave_reference`."""
    bot = asked.bot()
    if not asked.body.get("leave_reference"):
        scheduling.drop_references(asked.ws, bot)
    bots.delete(asked.ws, bot, "removed by the emulator")
    return _shown(asked, bot)


def foreign_bot(asked: Asked) -> object:
    """Create a bot that somebody else in the workspace booked through v1."""
    body = dict(asked.body)
    body.setdefault("meeting_url", "https://zoom.us/j/99900011122")
    join_at = instant(body["join_at"]) if body.get("join_at") else None
    bot = bots.create(
        asked.ws, meeting_url=body["meeting_url"], join_at=join_at, config=body, managed=False
    )
    asked.ws.tick()
    return _shown(asked, bot)


def _shown(asked: Asked, bot: BotRecord) -> Json:
    ws = asked.ws
    return {
        "id": bot.id,
        "state": "deleted" if bot.deleted_at else bot.state,
        "live": bot.is_live,
        "join_at": ws.text(bot.join_at),
        "meeting_url": bot.meeting_url,
        "bot_name": bot.bot_name,
        "config": bot.config,
        "metadata": bot.metadata,
        "deduplication_key": bot.deduplication_key,
        "event_ids": list(bot.event_ids),
        "managed": bot.managed,
        "created_at": ws.text(bot.created_at),
        "ended_at": ws.text(bot.ended_at) if bot.ended_at else None,
        "deleted_at": ws.text(bot.deleted_at) if bot.deleted_at else None,
        "status_changes": bot.status_changes,
    }
