"""Drift: what we have against what the providers have now, and having it mended."""

from worker.drifting.found import Difference, Kind, Report, Unread
from worker.drifting.looking import find_drift
from worker.drifting.mending import Pending, ask_to_mend, wait_until_done

__all__ = [
    "Difference",
    "Kind",
    "Pending",
    "Report",
    "Unread",
    "ask_to_mend",
    "find_drift",
    "wait_until_done",
]
