"""Control of people and calendars: who has a mailbox, of what kind, and what is shared with whom."""

from __future__ import annotations

from dataclasses import dataclass

from worker.sandbox.microsoft import ids
from worker.sandbox.microsoft.mailbox import Calendar, Mailbox
from worker.sandbox.microsoft.world import World
from worker.sandbox.microsoft.zones import stored_zone
from worker.sandbox.oauth.calls import Action, Asked, Unknown
from worker.sandbox.recall.forms import Json


@dataclass(frozen=True, slots=True)
class PeopleControl:
    world: World

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        return (
            ("GET", "/accounts", self.accounts),
            ("POST", "/accounts", self.add_account),
            ("PATCH", "/accounts/{account}", self.change_account),
            ("GET", "/accounts/{account}/calendars", self.calendars),
            ("POST", "/accounts/{account}/calendars", self.add_calendar),
            ("DELETE", "/calendars/{calendar_id}", self.delete_calendar),
            ("POST", "/calendars/{calendar_id}/share", self.share),
        )

    def accounts(self, _asked: Asked) -> object:
        return [_account_shown(mailbox) for mailbox in self.world.store.mailboxes.values()]

    def add_account(self, asked: Asked) -> object:
        """Make an account with a mailbox: `email`, and if wanted `name`, `id`, `time_zone`, `enabled`."""
        body = asked.body
        account = self.world.server.add_account(
            body["email"], name=body.get("name", ""), account_id=body.get("id", "")
        )
        mailbox = self.world.store.open_mailbox(account)
        _change(mailbox, body)
        return _account_shown(mailbox)

    def change_account(self, asked: Asked) -> object:
        """Change `time_zone`, or with `enabled` false make the mailbox inactive as an administrator would."""
        mailbox = self._mailbox(asked)
        _change(mailbox, asked.body)
        return _account_shown(mailbox)

    def calendars(self, asked: Asked) -> object:
        return [_calendar_shown(calendar) for calendar in self._mailbox(asked).calendars.values()]

    def add_calendar(self, asked: Asked) -> object:
        """Add a calendar called `name`."""
        return _calendar_shown(self._mailbox(asked).add_calendar(asked.body["name"]))

    def delete_calendar(self, asked: Asked) -> object:
        """Delete a calendar and what lies in it, as its owner would."""
        calendar = calendar_named(self.world, asked.path["calendar_id"])
        if calendar.is_default:
            raise ValueError("the default calendar cannot be deleted")
        for item in list(calendar.items.values()):
            self.world.store.remove(item)
        del calendar.mailbox.calendars[calendar.id]
        return {}

    def share(self, asked: Asked) -> object:
        """Share a calendar with the account `with`; `can_edit`, or `access: none` to take it back."""
        calendar = calendar_named(self.world, asked.path["calendar_id"])
        other = self._named(asked.body["with"])
        shared_id = ids.calendar_id("shared", calendar.id, other.account.id)
        calendar.readers.discard(other.account.id)
        calendar.editors.discard(other.account.id)
        other.shared.pop(shared_id, None)
        if asked.body.get("access") != "none":
            chosen = calendar.editors if asked.body.get("can_edit") else calendar.readers
            chosen.add(other.account.id)
            other.shared[shared_id] = calendar
        return {"id_there": shared_id}

    def _mailbox(self, asked: Asked) -> Mailbox:
        return self._named(asked.path["account"])

    def _named(self, name: str) -> Mailbox:
        mailbox = self.world.store.mailbox_of(name)
        if mailbox is None:
            raise Unknown(f"no account {name}")
        return mailbox


def calendar_named(world: World, calendar_id: str) -> Calendar:
    """
    Find a calendar by its id; an address stands for the default calendar of its mailbox.

    Raises:
        Unknown: there is none.
    """
    for mailbox in world.store.mailboxes.values():
        if calendar_id in mailbox.calendars:
            return mailbox.calendars[calendar_id]
        if calendar_id.lower() == mailbox.account.email.lower():
            return mailbox.default_calendar
    raise Unknown(f"no calendar {calendar_id}")


def _change(mailbox: Mailbox, body: Json) -> None:
    if "time_zone" in body:
        found = stored_zone(body["time_zone"])
        if found is None:
            raise ValueError(f"{body['time_zone']!r} is no zone of Graph's")
        mailbox.zone = found
    mailbox.is_enabled = bool(body.get("enabled", mailbox.is_enabled))


def _account_shown(mailbox: Mailbox) -> Json:
    return {
        "id": mailbox.account.id,
        "email": mailbox.account.email,
        "name": mailbox.account.name,
        "tenant_id": mailbox.tenant_id,
        "personal": mailbox.is_personal,
        "enabled": mailbox.is_enabled,
        "time_zone": mailbox.zone.name,
        "calendar_id": mailbox.default_calendar.id,
    }


def _calendar_shown(calendar: Calendar) -> Json:
    return {
        "id": calendar.id,
        "name": calendar.name,
        "account": calendar.mailbox.account.email,
        "default": calendar.is_default,
        "events": len(calendar.items),
    }
