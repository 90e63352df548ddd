"""
Calendars: adopt one, connect one, change, remove, look again; and what their status means for events.

One account of one provider is one calendar. Calls to the provider happen between transactions.
"""

from worker.calendars.connecting import connect
from worker.calendars.keeping import (
    RECALL,
    adopt,
    adopt_of_connection,
    adopt_row,
    change,
    find_calendar,
    list_calendars,
    look_again,
    remove,
    sync,
)
from worker.calendars.status import lock_upcoming, mark_deleted, set_status, unsettle_upcoming

__all__ = [
    "RECALL",
    "adopt",
    "adopt_of_connection",
    "adopt_row",
    "change",
    "connect",
    "find_calendar",
    "list_calendars",
    "lock_upcoming",
    "look_again",
    "mark_deleted",
    "remove",
    "set_status",
    "sync",
    "unsettle_upcoming",
]
