"""
What must be true after every step, and once everything has come to rest.

Numbers are those of the design: I1 the right bots · I2 acknowledged deliveries stay · I3 never two
bots of one slot · I4 domain events in order, without gaps, under one id · I5 the same state twice says
nothing new · I6 said if and only if committed · I7 no word of a bot that never was · I8 a stale run
changes nothing · I9 no ask is lost · I10 versions never go back · I11 the cursor passes nothing
unapplied · I13 a shared bot stays while one wants it · I15 lost permission deletes nothing · I16 nothing
is set aside without reason · L3 a killed worker's work is taken up within 30 s.
What one row alone shows (I2, I4, I9, I10, I11) is watched by triggers, see `database`.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

import models.tables  # noqa: F401  # registers every kind of due row
from models.tables import due
from models.tables.base import Due
from worker.sandbox.recall.store import BotRecord

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

#: Two scheduled bots of one slot may stand so long while nothing goes wrong (design, I3).
LONGEST_DOUBLE = timedelta(seconds=60)
#: So long after the last fault the world counts as healthy again: a lease, an upkeep round, a try.
HEALTHY_AFTER = timedelta(seconds=60)
#: A change that shows so soon after its stamp is missed by no listing.
_AT_ONCE = timedelta(milliseconds=5)
#: Events enter the provider's window so long before they begin; the daily listing finds them then.
SURELY_SEEN = timedelta(days=26)
IN_CALL = {"joining_call", "in_waiting_room", "in_call_not_recording", "in_call_recording"}

#: Rows that only whoever holds the lease may write, by the transaction that writes them.
_STALE_WRITES = """
SELECT name FROM (
    SELECT 'calendar_events' AS name, xmin FROM calendar_events
    UNION ALL SELECT 'wants', xmin FROM wants
    UNION ALL SELECT 'outbox', xmin FROM outbox
    UNION ALL SELECT 'provider_bots', xmin FROM provider_bots
    UNION ALL SELECT 'attempts', xmin FROM attempts
) AS written WHERE xmin::text = pg_current_xact_id_if_assigned()::text LIMIT 1
"""
_TOLD_BY_LEASE = {
    "slots": "op, op_key, bot_id, bot_hash, bot_state, bot_join_at, announced, done",
    "calendars": "status, needs_full, needs_check, last_full_at, done",
    "sources": "cursor_at, listed_at, done",
    "endpoints": "state, failing_since, held_until, done",
}
_HELD = {
    row.__name__: (
        f"SELECT row({_TOLD_BY_LEASE.get(table.name, 'done')})::text FROM {table.name}"
        f" WHERE {due.key_of(table).name}::text = :id"
    )
    for row in Due.__subclasses__()
    for table in [due.table_of(row)]
}


class Invariants:
    """Looks on. Everything found is told to the simulation, which stops at the first thing."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.records_seen = 0
        self.shown: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
        self.told: dict[str, tuple[str, dict[str, Any]]] = {}
        self._double_for: dict[str, timedelta] = {}
        self._double: set[str] = set()
        self._last_at = sim.now()

    # Transactions

    def before_commit(self, tx: Connection) -> None:
        """I8: a run whose row somebody else has claimed since commits nothing of its own."""
        turn = self.sim.stage.current
        if turn is None or not turn.overtaken or turn.notes.pop("settled", False):
            return
        written = tx.execute(text(_STALE_WRITES)).scalar_one_or_none()
        for kind, row_id in turn.overtaken:
            with self.sim.database.receiver.connect() as other:
                before = other.execute(text(_HELD[kind]), {"id": row_id}).scalar_one_or_none()
                other.rollback()
            if tx.execute(text(_HELD[kind]), {"id": row_id}).scalar_one_or_none() != before:
                written = kind
        if written is not None:
            self.sim.violated(f"I8 a stale run of {turn.name} wrote {written}")

    def after_commit(self) -> None:
        notices = self.sim.database.notices
        if notices:
            words = notices[0]
            notices.clear()
            self.sim.violated(words)
        turn = self.sim.stage.current
        if turn is None:
            return
        for key, fence in turn.notes.pop("claimed", []):
            self.sim.claimed(turn, key, fence)
        if turn.notes.pop("listing_served", False):
            self._check_cursor(turn.notes.get("first_list_at"))

    def _check_cursor(self, asked_at: datetime | None) -> None:
        """I11: what had shown by its stamp up to the cursor is stored."""
        if asked_at is None:
            return
        self._read_history()
        with self.sim.database.engine.begin() as tx:
            cursor = tx.execute(text("SELECT cursor_at FROM sources")).scalar_one()
            stored = {
                row.external_id: row.provider_updated_at
                for row in tx.execute(
                    text("SELECT external_id, provider_updated_at FROM calendar_events")
                )
            }
            followed = set(
                tx.execute(
                    text(
                        "SELECT external_id FROM calendars"
                        " WHERE NOT needs_full AND deleted_at IS NULL AND status = 'connected'"
                    )
                ).scalars()
            )
        if cursor is None:
            return
        for ref, versions in self.shown.items():
            event = self.sim.ws.events.get(ref)
            if event is None or event.calendar_id not in followed:
                continue
            # What showed long after its stamp no listing by stamps can find; the daily one does.
            seen = [
                version for at, version in versions if version <= cursor and at - version < _AT_ONCE
            ]
            if seen and not event.is_deleted and (ref not in stored or stored[ref] < max(seen)):
                self.sim.violated(f"I11 the cursor passed a change of event {ref} that is not applied")

    # Bots

    def after_step(self) -> None:
        """I3: never two bots of one slot, and none in one call."""
        now = self.sim.now()
        passed = now - self._last_at
        self._last_at = now
        if self._double and now > self.sim.last_fault_at + HEALTHY_AFTER:
            for slot in self._double:
                self._double_for[slot] = self._double_for.get(slot, timedelta(0)) + passed
                if self._double_for[slot] > LONGEST_DOUBLE:
                    self.sim.violated(f"I3 two bots of slot {slot} for more than 60 s")
        if self.sim.ws.history.count != self.records_seen:
            self._read_history()

    def _read_history(self) -> None:
        history = self.sim.ws.history
        concerns_bots = False
        for record in history.after(self.records_seen, 100_000):
            kind = record["kind"]
            if kind == "event.shown":
                version = datetime.fromisoformat(record["updated_at"])
                self.shown[record["id"]].append((datetime.fromisoformat(record["at"]), version))
            elif kind.startswith("bot."):
                concerns_bots = True
                if kind == "bot.deleted":
                    self._check_deletion(record["id"], record["why"])
        self.records_seen = history.count
        if concerns_bots:
            self._count_bots()

    def _count_bots(self) -> None:
        by_slot: dict[str, list[BotRecord]] = defaultdict(list)
        for bot in self.sim.ws.live_bots():
            if slot := bot.metadata.get("punctual_slot"):
                by_slot[slot].append(bot)
        self._double = {slot for slot, live in by_slot.items() if len(live) > 1}
        self._double_for = {k: v for k, v in self._double_for.items() if k in self._double}
        for slot in self._double:
            if sum(bot.state in IN_CALL for bot in by_slot[slot]) > 1:
                self.sim.violated(f"I3 two bots of slot {slot} are in a call")

    def _check_deletion(self, bot_id: str, why: str) -> None:
        if bot_id in self.sim.author.foreign:
            self.sim.violated(f"a foreign bot was removed ({why})")

    # Domain events

    def heard(self, sink: str, subject: str, kind: str, data: dict[str, Any]) -> None:
        """I7: a bot that is told about exists, or did."""
        if sink != "broker":
            return
        self.told[subject] = (kind, data)
        external_id = data.get("external_id")
        if kind in {"bot.scheduled", "bot.rescheduled"} and external_id not in self.sim.ws.bots:
            self.sim.violated(f"I7 {kind} tells of bot {external_id}, which never was")

    # At rest

    def unrest(self, *, posts: bool = False) -> str | None:
        """Say what still has to be done, None when nothing has; *posts* to endpoints may take days."""
        with self.sim.database.engine.begin() as tx:
            found = tx.execute(text(_UNPOSTED if posts else _UNREST)).first()
        return None if found is None else str(found[0])

    def set_aside(self) -> str | None:
        """Name what is set aside because its runs died: it comes back by itself, a while later."""
        with self.sim.database.engine.begin() as tx:
            row = tx.execute(text(_SET_ASIDE)).first()
            return None if row is None else f"a {row[0]} is set aside: {row[1]}"

    def at_rest(self) -> None:
        """Check what holds once faults are over and everything is done."""
        with self.sim.database.engine.begin() as tx:
            for words, query in _AT_REST.items():
                if (found := tx.execute(text(query)).first()) is not None:
                    self.sim.violated(f"{words}: {tuple(found)}")
            self._check_acked(tx)
            if odd := self._odd_event(tx):
                self.sim.violated(odd)
            self._check_sinks(tx)
            if odd := self._odd_word(tx):
                self.sim.violated(odd)
        for bot_id in self.sim.author.foreign:
            if not self.sim.ws.bots[bot_id].is_scheduled:
                self.sim.violated("a foreign bot was touched")

    def _check_acked(self, tx: Connection) -> None:
        kept_since = self.sim.now() - timedelta(days=13)
        stored = set(tx.execute(text("SELECT message_id FROM deliveries")).scalars())
        for message_id, at in self.sim.provider.acked.items():
            if at > kept_since and message_id not in stored:
                self.sim.violated(f"I2 acknowledged delivery {message_id} is lost")

    def odd_event(self) -> str | None:
        """I1, for what is stored: name an event of which that does not say what the provider says."""
        with self.sim.database.engine.begin() as tx:
            return self._odd_event(tx)

    def _odd_event(self, tx: Connection) -> str | None:
        rows = {
            row["external_id"]: row
            for row in tx.execute(
                text("SELECT external_id, start_at, deleted, provider_updated_at FROM calendar_events")
            ).mappings()
        }
        for ref, event in self.sim.ws.events.items():
            calendar = self.sim.ws.calendars[event.calendar_id]
            if not (event.is_visible and calendar.is_connected) or event.end <= self.sim.now():
                continue
            if event.start > self.sim.now() + SURELY_SEEN:
                continue
            row = rows.get(ref)
            if row is None:
                if not event.is_deleted:
                    return f"I1 event {ref} is not stored"
            elif row["deleted"] != event.is_deleted or (
                not event.is_deleted and row["start_at"] != event.start
            ):
                return f"I1 event {ref} is stored otherwise than it is"
        return None

    def _check_sinks(self, tx: Connection) -> None:
        """I4, I6: every committed event has arrived everywhere, and nothing else has."""
        found = tx.execute(text("SELECT name, last_sequence FROM subjects"))
        last: dict[str, int] = {row.name: row.last_sequence for row in found}
        for sink in (self.sim.publisher.sink, self.sim.poster.sink):
            got = {subject: number for subject, number in sink.last.items() if number}
            if sink.name == "endpoint" and self.sim.endpoint_failed():
                continue
            if got != last:
                odd = {name for name in got.keys() | last.keys() if got.get(name) != last.get(name)}
                self.sim.violated(f"I4 {sink.name}: not all of {min(odd)} arrived, or too much")

    def odd_word(self) -> str | None:
        """I6: the last that was said of a bot or an event is what is so; name one that is not."""
        with self.sim.database.engine.begin() as tx:
            return self._odd_word(tx)

    def _odd_word(self, tx: Connection) -> str | None:
        for subject, (kind, data) in self.told.items():
            what, _, row_id = subject.partition("/")
            if what == "calendar_event":
                row = tx.execute(
                    text("SELECT deleted, start_at FROM calendar_events WHERE id::text = :id"),
                    {"id": row_id},
                ).first()
                if row is not None and (
                    row.deleted != data["deleted"]
                    or (not row.deleted and row.start_at != datetime.fromisoformat(data["start"]))
                ):
                    return f"I6 {subject}: {kind} was the last word, and it is not so"
            if what == "bot" and (odd := self._odd_word_of_bot(subject, kind, data)):
                return odd
        return None

    def _odd_word_of_bot(self, subject: str, kind: str, data: dict[str, Any]) -> str | None:
        slot = subject.partition("/")[2]
        live = [
            bot
            for bot in self.sim.ws.live_bots()
            if bot.metadata.get("punctual_slot") == slot and bot.is_scheduled
        ]
        if kind in {"bot.scheduled", "bot.rescheduled"}:
            known = self.sim.ws.bots.get(str(data["external_id"]))
            is_live = known is not None and known.is_live
            if (
                not is_live
                and data["join_at"]
                and datetime.fromisoformat(data["join_at"]) > self.sim.now()
            ):
                return f"I6 {subject}: {kind} was the last word, but the bot is gone"
        elif kind == "bot.cancelled" and live:
            return f"I6 {subject}: {kind} was the last word, but a bot stands"
        for bot in live:
            if kind in {"bot.scheduled", "bot.rescheduled"} and (
                bot.id != data["external_id"] or bot.join_at != datetime.fromisoformat(data["join_at"])
            ):
                return f"I6 {subject}: {kind} told of another bot or time than stands"
        return None


_UNREST = """
SELECT what FROM (
    SELECT 'calendar' AS what FROM calendars WHERE wanted > done AND parked_at IS NULL
    UNION ALL SELECT 'slot' FROM slots WHERE wanted > done AND parked_at IS NULL
    UNION ALL SELECT 'source' FROM sources WHERE wanted > done AND parked_at IS NULL
    UNION ALL SELECT 'event' FROM calendar_events WHERE unsettled
    UNION ALL SELECT 'delivery' FROM deliveries WHERE state = 'stored'
    UNION ALL SELECT 'domain event' FROM outbox WHERE published_at IS NULL OR position IS NULL
) AS waiting LIMIT 1
"""
_UNPOSTED = """
SELECT what FROM (
    SELECT 'endpoint' AS what FROM endpoints WHERE wanted > done AND parked_at IS NULL
    UNION ALL SELECT 'posting' FROM postings JOIN endpoints ON endpoints.id = endpoint_id
        WHERE postings.state = 'waiting' AND endpoints.state = 'active'
) AS waiting LIMIT 1
"""
_SET_ASIDE = " UNION ALL ".join(
    f"SELECT '{table}' AS what, last_error FROM {table} WHERE parked_at IS NOT NULL AND crashes >= 5"
    for table in ("calendars", "connections", "push_channels", "slots", "sources", "endpoints")
)
#: Each query returns what should not be there.
_AT_REST = {
    "I16 a delivery was set aside": "SELECT type, reason FROM deliveries"
    " WHERE state IN ('parked', 'quarantined')",
    "I4 a gap in the sequence": "SELECT subject, count(*), max(sequence) FROM outbox GROUP BY subject"
    " HAVING count(*) <> max(sequence) - min(sequence) + 1",
    "I4 positions are not in order of sequences": "SELECT a.subject, a.sequence FROM outbox a"
    " JOIN outbox b ON a.subject = b.subject AND b.sequence = a.sequence + 1"
    " WHERE b.position < a.position",
    "I16 a row was set aside": "SELECT * FROM ("
    " SELECT 'slot' AS what, last_error FROM slots WHERE parked_at IS NOT NULL AND closed_at IS NULL"
    " AND ends_at > now()"
    " UNION ALL SELECT 'calendar', last_error FROM calendars WHERE parked_at IS NOT NULL"
    " UNION ALL SELECT 'source', last_error FROM sources WHERE parked_at IS NOT NULL"
    " UNION ALL SELECT 'endpoint', last_error FROM endpoints WHERE parked_at IS NOT NULL) AS parked",
    "I13 a want of a closed slot": "SELECT w.event_id, s.id FROM wants w JOIN slots s ON s.id = w.slot_id"
    " WHERE s.closed_at IS NOT NULL",
}
