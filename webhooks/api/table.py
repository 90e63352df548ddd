"""All operations there are, in the order they are documented."""

from __future__ import annotations

from webhooks.api import (
    bots,
    calendars,
    connections,
    deliveries,
    endpoints,
    events,
    feed,
    keys,
    rules,
)
from webhooks.api.operations import Operation

MODULES = (calendars, connections, events, rules, bots, endpoints, feed, deliveries, keys)

OPERATIONS: tuple[Operation, ...] = tuple(
    operation for module in MODULES for operation in module.OPERATIONS
)
