"""
Open and stop push channels.

Source: developers.google.com/workspace/calendar/api/guides/push.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from worker.sandbox.google.calls import Call
from worker.sandbox.google.channels import Channel
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.recall.answers import Answer

CHANNEL_ID = re.compile(r"[A-Za-z0-9\-_+/=]{1,64}")
TYPES = frozenset({"web_hook", "webhook"})
TOKEN_MAX = 256


async def watch_events(call: Call) -> Answer:
    """Watch the events of a calendar."""
    calendar = call.calendar("freeBusyReader")
    return await _watch(
        call, f"events:{calendar.id}", f"calendars/{quote(calendar.id, safe='')}/events"
    )


async def watch_calendar_list(call: Call) -> Answer:
    """Watch the caller's list of calendars."""
    call.world.mailbox(call.account)
    return await _watch(call, f"calendarList:{call.account.id}", "users/me/calendarList")


async def watch_settings(call: Call) -> Answer:
    """Watch the caller's settings."""
    call.world.mailbox(call.account)
    return await _watch(call, f"settings:{call.account.id}", "users/me/settings")


def stop(call: Call) -> Answer:
    """Close a channel, which only its opener with the same client can do."""
    channel = call.world.channels.by_id.get(str(call.body.get("id", "")))
    is_theirs = channel is not None and (
        channel.resource_id == call.body.get("resourceId")
        and channel.account_id == call.account.id
        and channel.client_id == call.grant.client_id
    )
    if channel is None or not is_theirs or not channel.is_live(call.world.now()):
        text = f"Channel '{call.body.get('id')}' not found for project '{call.grant.client_id}'"
        raise Refusal("notFound", text)
    channel.is_stopped = True
    return Answer(204)


async def _watch(call: Call, watched: str, path: str) -> Answer:
    channel = _opened(call, watched, path)
    world = call.world
    world.channels.open(channel)
    greeting = world.channels.greet(channel)
    if world.switches.sync_before_answer:
        await world.channels.post(greeting)
    else:
        world.channels.post_later(greeting)
    return Answer(200, channel.shown())


def _opened(call: Call, watched: str, path: str) -> Channel:
    """Raises Refusal: the request makes no channel."""
    world, body = call.world, call.body
    channel_id, address, token = (str(body.get(name) or "") for name in ("id", "address", "token"))
    if not channel_id:
        raise Refusal("required", "Missing channel id.")
    if not CHANNEL_ID.fullmatch(channel_id):
        raise Refusal("invalid", "Invalid channel id.")
    known = world.channels.by_id.get(channel_id)
    is_reusable = world.switches.stopped_channel_ids_reusable
    if known is not None and (known.is_live(world.now()) or not is_reusable):
        raise Refusal("channelIdNotUnique", f"Channel id {channel_id} not unique")
    if body.get("type") not in TYPES:
        raise Refusal("invalid", "Unknown channel type.")
    if not address.startswith(("https://", "http://")):
        raise Refusal("required", "Missing address.")
    if world.switches.https_required and not address.startswith("https://"):
        reason = "push.webhookUrlNotHttps"
        raise Refusal(reason, f"WebHook callback must be HTTPS: {address}", status=400)
    if len(token) > TOKEN_MAX:
        raise Refusal("invalid", "Channel token too long.")
    query = urlencode([(name, each) for name, values in call.query.items() for each in values])
    resource_uri = (
        f"https://www.googleapis.com/calendar/v3/{path}?{query + '&' if query else ''}alt=json"
    )
    return Channel(
        channel_id,
        hashlib.sha256(watched.encode()).hexdigest()[:27],
        resource_uri,
        watched,
        address,
        token,
        call.account.id,
        call.grant.client_id,
        _expiration(call),
    )


def _expiration(call: Call) -> datetime:
    """Return when the channel ends: as asked for, at most as late as allowed."""
    now, longest = call.world.now(), timedelta(seconds=call.world.limits.channel_s)
    wanted = [now + longest]
    try:
        if call.body.get("expiration"):
            wanted.append(datetime.fromtimestamp(int(call.body["expiration"]) / 1000, UTC))
        ttl = (call.body.get("params") or {}).get("ttl")
        if ttl:
            wanted.append(now + timedelta(seconds=int(ttl)))
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise Refusal("invalid", "Invalid expiration.") from error
    ends_at = min(wanted)
    if ends_at <= now:
        raise Refusal("invalid", "Channel expiration lies in the past.")
    return ends_at
