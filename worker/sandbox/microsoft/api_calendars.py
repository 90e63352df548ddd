"""The person and the calendars: /me, /me/calendars, /me/calendar."""

from __future__ import annotations

from worker.sandbox.microsoft import pages, refusals, showing
from worker.sandbox.microsoft.asking import READ, READ_SHARED, Asked
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

MAY_SEE_SELF = frozenset({"user.read", "user.readwrite", "user.readbasic.all", "user.read.all"})


def me(asked: Asked) -> Answer:
    """
    Show the person.

    Source: learn.microsoft.com/graph/api/user-get (the properties returned by default).
    """
    if not MAY_SEE_SELF & asked.scopes:
        text = "Insufficient privileges to complete the operation."
        raise refusals.Refused(403, "Authorization_RequestDenied", text)
    account = asked.mailbox.account
    given, _, family = account.name.partition(" ")
    shown: Json = {
        "@odata.context": pages.context_of(asked, "users/$entity"),
        "businessPhones": [],
        "displayName": account.name,
        "givenName": given or None,
        "jobTitle": None,
        "mail": account.email,
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": family or None,
        "userPrincipalName": account.email,
        "id": account.id,
    }
    return Answer(200, pages.selected(asked, shown))


def list_(asked: Asked) -> Answer:
    """List the calendars, with those of others shared with the user if the token may see them."""
    asked.need(READ if asked.is_own else READ_SHARED)
    reader = asked.store.mailboxes[asked.grant.account.id]
    shown = [showing.calendar(each, each.id, reader) for each in asked.mailbox.calendars.values()]
    if not asked.is_own:
        allowed = {
            each.id
            for each in asked.mailbox.calendars.values()
            if reader.account.id in each.readers | each.editors
        }
        shown = [row for row in shown if row["id"] in allowed]
    elif READ_SHARED & asked.scopes:
        shown += [showing.calendar(each, own_id, reader) for own_id, each in reader.shared.items()]
    size = pages.number(asked, "$top") or asked.prefer.page_size or asked.store.limits.page_size
    skip = pages.number(asked, "$skip") or 0
    context = pages.context_of(asked, f"users('{asked.mailbox.account.id}')/calendars")
    body: Json = {
        "@odata.context": context,
        "value": [pages.selected(asked, row) for row in shown[skip : skip + size]],
    }
    if skip + size < len(shown):
        body["@odata.nextLink"] = asked.url(f"$top={size}&$skip={skip + size}")
    return Answer(200, body)


def retrieve(asked: Asked) -> Answer:
    """Show a calendar, the default one if the path names none."""
    found = asked.calendar()
    shown_id = asked.params.get("calendar_id", found.id)
    reader = asked.store.mailboxes[asked.grant.account.id]
    context = pages.context_of(asked, f"users('{asked.mailbox.account.id}')/calendars/$entity")
    row = {"@odata.context": context, **showing.calendar(found, shown_id, reader)}
    return Answer(200, pages.selected(asked, row))
