"""Control of accounts, their calendars, and who else has those."""

from __future__ import annotations

from worker.sandbox.google.store import ROLES, CalendarRecord
from worker.sandbox.google.times import zone_of
from worker.sandbox.google.world import World
from worker.sandbox.oauth.calls import Action, Asked, Unknown
from worker.sandbox.oauth.grants import Account
from worker.sandbox.recall.forms import Json


class PeopleControl:
    def __init__(self, world: World) -> None:
        self.world = world

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        return (
            ("GET", "/accounts", self.accounts),
            ("POST", "/accounts", self.add_account),
            ("PATCH", "/accounts/{id}/settings", self.set_settings),
            ("GET", "/calendars", self.calendars),
            ("POST", "/calendars", self.add_calendar),
            ("PATCH", "/calendars/{id}", self.change_calendar),
            ("DELETE", "/calendars/{id}", self.delete_calendar),
            ("PUT", "/calendars/{id}/entries/{account}", self.set_entry),
            ("POST", "/calendars/{id}/expire-sync-tokens", self.expire_tokens),
            ("POST", "/calendars/{id}/purge", self.purge),
            ("PUT", "/groups/{id}", self.set_group),
        )

    def accounts(self, _asked: Asked) -> object:
        return [self._account_shown(account) for account in self.world.oauth.accounts.values()]

    def add_account(self, asked: Asked) -> object:
        """Make an account with its calendar: `email`, and `name`, `id`, `time_zone`, `hides_invitations`."""
        body = asked.body
        account = self.world.oauth.add_account(
            body["email"], name=body.get("name", ""), account_id=body.get("id", "")
        )
        mailbox, primary = self.world.mailbox(account), self.world.primary(account)
        if body.get("time_zone"):
            zone_of(body["time_zone"])
            primary.time_zone = mailbox.settings["timezone"] = body["time_zone"]
        mailbox.hides_invitations = bool(body.get("hides_invitations", False))
        return self._account_shown(account)

    def set_settings(self, asked: Asked) -> object:
        """Change settings as their user would; watchers of settings are told."""
        mailbox = self.world.mailbox(self._account(asked.path["id"]))
        mailbox.settings_revision += 1
        for name, value in asked.body.items():
            mailbox.settings[name] = str(value)
            mailbox.setting_changed_at[name] = mailbox.settings_revision
        self.world.channels.announce(f"settings:{mailbox.account_id}")
        return mailbox.settings

    def calendars(self, _asked: Asked) -> object:
        return [self._calendar_shown(calendar) for calendar in self.world.calendars.values()]

    def add_calendar(self, asked: Asked) -> object:
        """Make a secondary calendar of `account`: `summary`, and `id`, `time_zone`, `description`."""
        body, owner = asked.body, self._account(asked.body["account"])
        self.world.mailbox(owner)
        zone = body.get("time_zone") or self.world.primary(owner).time_zone
        zone_of(zone)
        calendar_id = body.get("id") or f"c_{self.world.fresh_id()}@group.calendar.google.com"
        calendar = CalendarRecord(calendar_id, owner.id, body["summary"], zone)
        calendar.description = body.get("description", "")
        self.world.install(calendar)
        return self._calendar_shown(calendar)

    def change_calendar(self, asked: Asked) -> object:
        """
        Change `summary`, `description`, `time_zone`, or let free/busy fail with `free_busy_error`.

        Lists hear of it only where the switch `calendar_properties_reported` says so.
        """
        calendar, body = self._calendar(asked), asked.body
        if "time_zone" in body:
            zone_of(body["time_zone"])
        for name in ("summary", "description", "time_zone", "free_busy_error"):
            if name in body:
                setattr(calendar, name, body[name])
        calendar.version = self.world.next_count()
        if self.world.switches.calendar_properties_reported:
            for mailbox in self.world.mailboxes.values():
                if calendar.id in mailbox.entries:
                    self.world.touch_entry(mailbox, mailbox.entries[calendar.id])
        return self._calendar_shown(calendar)

    def delete_calendar(self, asked: Asked) -> object:
        """Delete a secondary calendar: gone from everybody's list, its channels told not_exists."""
        calendar = self._calendar(asked)
        if calendar.is_primary:
            raise ValueError("a primary calendar cannot be deleted")
        calendar.is_deleted = True
        for mailbox in self.world.mailboxes.values():
            entry = mailbox.entries.get(calendar.id)
            if entry is not None:
                entry.is_deleted = True
                self.world.touch_entry(mailbox, entry)
        self.world.channels.announce(f"events:{calendar.id}", "not_exists")
        return self._calendar_shown(calendar)

    def set_entry(self, asked: Asked) -> object:
        """
        Share a calendar with `account` as `role` (none takes it away), or change how it stands in the list.

        `hidden`, `selected`, `summary_override`, `deleted`. A changed role kills the account's sync tokens.
        """
        calendar, body = self._calendar(asked), asked.body
        account = self._account(asked.path["account"])
        mailbox = self.world.mailbox(account)
        if "role" in body:
            if body["role"] not in ROLES:
                raise ValueError(f"role is one of {', '.join(ROLES)}")
            if account.id == calendar.owner_id:
                raise ValueError("an owner stays one")
            calendar.roles[account.id] = body["role"]
            calendar.revision += 1
            calendar.role_changed_at[account.id] = calendar.revision
        entry = self.world.enlist(calendar, mailbox)
        entry.is_deleted = bool(body.get("deleted", calendar.role_of(account.id) == "none"))
        entry.is_hidden = bool(body.get("hidden", entry.is_hidden))
        entry.is_selected = bool(body.get("selected", entry.is_selected))
        entry.summary_override = body.get("summary_override", entry.summary_override)
        return self._calendar_shown(calendar)

    def expire_tokens(self, asked: Asked) -> object:
        """Let every sync token of the calendar given so far be answered with 410."""
        calendar = self._calendar(asked)
        calendar.revision += 1
        calendar.forgotten_until = calendar.revision
        return {}

    def purge(self, asked: Asked) -> object:
        """Let deleted events vanish for good, and with them the sync tokens that would have to tell of them."""
        calendar = self._calendar(asked)
        gone = [
            row.id
            for row in calendar.events.values()
            if row.is_cancelled and (not row.is_exception or row.is_dropped)
        ]
        for event_id in gone:
            del calendar.events[event_id]
            self.world.copies.get(event_id, set()).discard(calendar.id)
        self.expire_tokens(asked)
        return {"purged": len(gone)}

    def set_group(self, asked: Asked) -> object:
        """Let a free/busy query of the group stand for `members`."""
        self.world.groups[asked.path["id"]] = list(asked.body["members"])
        return self.world.groups

    def _account(self, id_or_email: str) -> Account:
        account = self.world.oauth.account(id_or_email)
        if account is None:
            raise Unknown(f"no account {id_or_email}")
        return account

    def _calendar(self, asked: Asked) -> CalendarRecord:
        return calendar_at(self.world, asked.path["id"])

    def _account_shown(self, account: Account) -> Json:
        mailbox = self.world.mailbox(account)
        return {
            "id": account.id,
            "email": account.email,
            "name": account.name,
            "calendars": list(mailbox.entries),
            "settings": mailbox.settings,
        }

    def _calendar_shown(self, calendar: CalendarRecord) -> Json:
        roles = {
            self.world.oauth.accounts[account_id].email: role
            for account_id, role in calendar.roles.items()
        }
        return {
            "id": calendar.id,
            "summary": calendar.summary,
            "time_zone": calendar.time_zone,
            "owner": self.world.oauth.accounts[calendar.owner_id].email,
            "primary": calendar.is_primary,
            "deleted": calendar.is_deleted,
            "roles": roles,
            "events": len(calendar.events),
            "revision": calendar.revision,
        }


def calendar_at(world: World, calendar_id: str) -> CalendarRecord:
    """Raises Unknown: there is no such calendar."""
    calendar = world.calendars.get(calendar_id)
    if calendar is None:
        account = world.oauth.account(calendar_id)
        if account is None:
            raise Unknown(f"no calendar {calendar_id}")
        return world.primary(account)
    return calendar
