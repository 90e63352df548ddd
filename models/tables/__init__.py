"""The rows that remember: one module per noun. Importing this package registers them all."""

from models.tables import (
    access,
    calendars,
    connections,
    events,
    inbox,
    installation,
    outbox,
    slots,
    trail,
)

__all__ = [
    "access",
    "calendars",
    "connections",
    "events",
    "inbox",
    "installation",
    "outbox",
    "slots",
    "trail",
]
