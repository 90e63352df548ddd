"""
Domain events on their way out: written with the change, numbered after commit, handed on in order.

`emit` belongs into the transaction of the change. Everything else happens later, from the rows
alone: a relay that dies anywhere repeats at most what it had not recorded, under the same ids.
Without a publisher rows simply stay unpublished; that is no backlog, and nobody waits for them.
"""

from worker.outbox.emitting import emit
from worker.outbox.feed import cloud_event, feed, is_of, prune, schema_url
from worker.outbox.numbering import NUMBERED_AT_ONCE, ask_sooner, number_all, number_new
from worker.outbox.relaying import RelayOutcome, oldest_waiting_at, relay, waiting

__all__ = [
    "NUMBERED_AT_ONCE",
    "RelayOutcome",
    "ask_sooner",
    "cloud_event",
    "emit",
    "feed",
    "is_of",
    "number_all",
    "number_new",
    "oldest_waiting_at",
    "prune",
    "relay",
    "schema_url",
    "waiting",
]
