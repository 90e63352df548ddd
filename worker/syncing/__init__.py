"""Find out what changed: one listing for the whole workspace, and a calendar's own where it is needed."""

from worker.syncing.calendar import sync_calendar
from worker.syncing.runs import IS_OWN, IS_PLAIN, RECALL
from worker.syncing.workspace import ring_for_calendars, sync_workspace

__all__ = [
    "IS_OWN",
    "IS_PLAIN",
    "RECALL",
    "ring_for_calendars",
    "sync_calendar",
    "sync_workspace",
]
