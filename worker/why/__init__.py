"""
Why an event has a bot or has none: the whole trail, from the notification to the domain event.

Reads what the use-cases left behind and puts it into plain sentences; shows ids, times and reasons,
never titles, people or links. The API and `punctual why` tell the same.
"""

from worker.why.explaining import explain
from worker.why.reading import find_event

__all__ = ["explain", "find_event"]
