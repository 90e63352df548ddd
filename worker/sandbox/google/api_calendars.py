"""
The methods of `calendarList`, `calendars` and `settings`.

Source: developers.google.com/workspace/calendar/api/v3/reference/calendarList, …/calendars, …/settings.
"""

from __future__ import annotations

import json
from typing import cast

from worker.sandbox.google.calls import Call
from worker.sandbox.google.paging import Frozen, Page, SyncToken, first_page, next_page, read_token
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import ROLES, CalendarRecord, Entry, Mailbox
from worker.sandbox.google.times import read_zone
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

NOT_WITH_TOKEN = ("minAccessRole", "showOwnOrganizationOnly")
MEET_ONLY = {"allowedConferenceSolutionTypes": ["hangoutsMeet"]}


def list_(call: Call) -> Answer:
    """List the caller's calendars, or what changed in that list since a sync token."""
    mailbox = call.world.mailbox(call.account)
    subject = f"calendarList:{mailbox.account_id}"
    token = _token(call, subject)
    if call.one("pageToken"):
        page = next_page(call.world, call.one("pageToken"), _question(call), _size(call))
    else:
        since = None if token is None else token.revision
        entries = tuple(each for each in mailbox.entries.values() if _is_listed(call, each, since))
        gives = not any(call.one(name) for name in NOT_WITH_TOKEN)
        frozen = _frozen(call, subject, mailbox.revision, entries, gives=gives)
        page = first_page(call.world, frozen, _size(call))
    items = [entry_shown(call, cast("Entry", each)) for each in page.entries]
    body = {"kind": "calendar#calendarList", "etag": f'"p{mailbox.revision:08d}"', "items": items}
    return Answer(200, body | page.facts)


def get(call: Call) -> Answer:
    """Return one calendar as the caller's list has it."""
    calendar = call.calendar("freeBusyReader")
    entry = call.world.mailbox(call.account).entries.get(calendar.id)
    if entry is None or entry.is_deleted:
        raise Refusal("notFound")
    return Answer(200, entry_shown(call, entry))


def calendar_get(call: Call) -> Answer:
    """Return a calendar apart from any list."""
    return Answer(200, calendar_shown(call, call.calendar("freeBusyReader")))


def calendar_insert(call: Call) -> Answer:
    """Create a secondary calendar; its owner has it in the list at once."""
    if not call.body.get("summary"):
        raise Refusal("required", "Missing calendar summary.")
    world, mailbox = call.world, call.world.mailbox(call.account)
    if mailbox.created_calendars >= world.limits.new_calendars:
        raise Refusal("quotaExceeded")
    mailbox.created_calendars += 1
    calendar = CalendarRecord(
        f"c_{world.fresh_id()}@group.calendar.google.com",
        call.account.id,
        str(call.body["summary"]),
        read_zone(call.body.get("timeZone"), world.primary(call.account).time_zone),
        description=str(call.body.get("description") or ""),
    )
    world.install(calendar)
    return Answer(200, calendar_shown(call, calendar))


def settings_list(call: Call) -> Answer:
    """List the caller's settings, or what changed in them since a sync token."""
    mailbox = call.world.mailbox(call.account)
    subject = f"settings:{mailbox.account_id}"
    token = _token(call, subject)
    if call.one("pageToken"):
        page = next_page(call.world, call.one("pageToken"), _question(call), _size(call))
    else:
        names = tuple(
            name
            for name in sorted(mailbox.settings)
            if token is None or mailbox.setting_changed_at.get(name, 0) > token.revision
        )
        frozen = _frozen(call, subject, mailbox.settings_revision, names)
        page = first_page(call.world, frozen, _size(call))
    return Answer(200, _settings_body(mailbox, page))


def settings_get(call: Call) -> Answer:
    """Return one setting."""
    mailbox = call.world.mailbox(call.account)
    name = call.path["setting"]
    if name not in mailbox.settings:
        raise Refusal("notFound")
    return Answer(200, _setting(mailbox, name))


def entry_shown(call: Call, entry: Entry) -> Json:
    """Render a calendar as the caller's list has it."""
    calendar = call.world.calendars[entry.calendar_id]
    shown: Json = {
        "kind": "calendar#calendarListEntry",
        "etag": f'"{1_700_000_000_000_000 + entry.version}"',
        "id": calendar.id,
        "accessRole": calendar.role_of(entry.account_id),
    }
    if entry.is_deleted:
        role = calendar.role_of(entry.account_id)
        return shown | {"deleted": True, "accessRole": "reader" if role == "none" else role}
    shown |= {
        "summary": calendar.summary,
        "timeZone": calendar.time_zone,
        "colorId": entry.color_id,
        "backgroundColor": "#9fe1e7",
        "foregroundColor": "#000000",
        "defaultReminders": [{"method": "popup", "minutes": 10}] if calendar.is_primary else [],
        "conferenceProperties": MEET_ONLY,
    }
    for name, value in (
        ("description", calendar.description),
        ("summaryOverride", entry.summary_override),
        ("hidden", entry.is_hidden),
        ("selected", entry.is_selected),
    ):
        if value:
            shown[name] = value
    if calendar.is_primary and calendar.owner_id == entry.account_id:
        shown["primary"] = True
    if not calendar.is_primary:
        shown["dataOwner"] = call.world.oauth.accounts[calendar.owner_id].email
    return shown


def calendar_shown(call: Call, calendar: CalendarRecord) -> Json:
    """Render a calendar apart from any list."""
    shown: Json = {
        "kind": "calendar#calendar",
        "etag": calendar.etag,
        "id": calendar.id,
        "summary": calendar.summary,
        "timeZone": calendar.time_zone,
        "conferenceProperties": MEET_ONLY,
    }
    if calendar.description:
        shown["description"] = calendar.description
    if not calendar.is_primary:
        shown["dataOwner"] = call.world.oauth.accounts[calendar.owner_id].email
    return shown


def _is_listed(call: Call, entry: Entry, since: int | None) -> bool:
    """Apply the filters of the list; with a token, hidden and deleted entries are always there."""
    calendar = call.world.calendars[entry.calendar_id]
    if since is not None:
        return entry.revision > since
    if entry.is_deleted and not call.flag("showDeleted"):
        return False
    if entry.is_hidden and not call.flag("showHidden"):
        return False
    least = call.choice("minAccessRole", ROLES[1:])
    if least and ROLES.index(calendar.role_of(entry.account_id)) < ROLES.index(least):
        return False
    if call.flag("showOwnOrganizationOnly"):
        owner = call.world.oauth.accounts[calendar.owner_id]
        return owner.email.rpartition("@")[2] == call.account.email.rpartition("@")[2]
    return True


def _token(call: Call, subject: str) -> SyncToken | None:
    """Raises Refusal: parameters that may not go with a sync token, or a dead one."""
    if not call.one("syncToken"):
        return None
    for name in NOT_WITH_TOKEN:
        if call.one(name):
            raise Refusal("badRequest", f"Sync token cannot be used with {name}.", location=name)
    for name in ("showDeleted", "showHidden"):
        if call.one(name) and not call.flag(name):
            raise Refusal("badRequest", f"Sync token cannot be used with {name}=false.", location=name)
    return read_token(call.world, call.one("syncToken"), subject, call.account.id)


def _frozen(
    call: Call, subject: str, revision: int, entries: tuple[object, ...], *, gives: bool = True
) -> Frozen:
    token = SyncToken(subject, call.account.id, revision, call.world.now().timestamp())
    return Frozen(_question(call), entries, token.text() if gives else "")


def _question(call: Call) -> str:
    kept = {
        name: v for name, v in call.query.items() if name not in ("pageToken", "maxResults", "fields")
    }
    return json.dumps([sorted(kept.items()), call.account.id])


def _size(call: Call) -> int:
    limits = call.world.limits
    asked = call.number("maxResults", limits.list_page_size)
    return min(cast("int", asked), limits.list_page_size_max)


def _settings_body(mailbox: Mailbox, page: Page) -> Json:
    items = [_setting(mailbox, str(name)) for name in page.entries]
    etag = f'"p{mailbox.settings_revision:08d}"'
    return {"kind": "calendar#settings", "etag": etag, "items": items, **page.facts}


def _setting(mailbox: Mailbox, name: str) -> Json:
    etag = f'"{mailbox.setting_changed_at.get(name, 0)}"'
    return {"kind": "calendar#setting", "etag": etag, "id": name, "value": mailbox.settings[name]}
