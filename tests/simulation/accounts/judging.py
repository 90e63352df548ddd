"""
What must be true besides where accounts are connected.

I11 a cursor of a calendar passes nothing unapplied · I14 one refresh per account at a time, a rotated
token stored before its fruit is used, a superseded one never sent again · I15 a consent is given up
only when it is gone, told once, and no bot goes for it · no storm of refreshes.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from models.domain.events import Event
from models.sealing import place
from tests.simulation.accounts.doors import Given, SimulatedAuthority
from tests.simulation.accounts.people import Entry, Holder
from tests.simulation.invariants import SURELY_SEEN, Invariants
from tests.simulation.turns import Crash, Turn

if TYPE_CHECKING:
    from tests.simulation.accounts.story import AccountsSimulation

#: A refused refresh token is asked for twice, and once more for each run that could not say so.
MOST_REFUSALS = 2
#: Calls for one account's tokens within a minute that are no storm, whatever fails meanwhile.
MOST_A_MINUTE = 12
#: What was changed so long before a consent was lost had its bot.
KNOWN_AFTER = timedelta(minutes=10)
BACK = timedelta(days=1)

_CONNECTIONS = text(
    "SELECT id, platform, account, status, refresh_token, deleted_at FROM connections"
    " WHERE platform = :platform AND account = :account ORDER BY id"
)
_READ = text(
    "SELECT calendars.id, calendars.external_id, cursor, window_until, connections.platform, account"
    " FROM calendars JOIN connections ON connections.id = connection_id WHERE calendars.id::text = :id"
)
_STORED = text(
    "SELECT external_id, start_at, end_at, deleted, link_key FROM calendar_events"
    " WHERE calendar_id = :id"
)
_FOLLOWED = text(
    "SELECT calendars.id, calendars.external_id, calendars.status, connections.platform, account,"
    " EXISTS (SELECT 1 FROM push_channels WHERE calendar_id = calendars.id AND closed_at IS NULL"
    " AND is_wanted AND opened_at IS NOT NULL AND expires_at > now()) AS has_channel"
    " FROM calendars JOIN connections ON connections.id = connection_id"
    " WHERE calendars.deleted_at IS NULL AND connections.deleted_at IS NULL"
)
_UNREST = """
SELECT what FROM (
    SELECT 'connection' AS what FROM connections WHERE wanted > done AND parked_at IS NULL
    UNION ALL SELECT 'push channel' FROM push_channels WHERE wanted > done AND parked_at IS NULL
) AS waiting LIMIT 1
"""
#: Each query returns what should not be there.
_AT_REST = {
    "I16 a row was set aside": "SELECT 'connection' AS what, last_error FROM connections"
    " WHERE parked_at IS NOT NULL UNION ALL SELECT 'push channel', last_error FROM push_channels"
    " WHERE parked_at IS NOT NULL",
    "I15 a lost consent was told twice": "SELECT subject FROM (SELECT subject, type, lag(type) OVER"
    " (PARTITION BY subject ORDER BY sequence) AS before FROM outbox WHERE type LIKE 'calendar.%') AS told"
    " WHERE type = 'calendar.needs_reauth' AND before = type",
    "a calendar has two channels that are wanted": "SELECT calendar_id FROM push_channels"
    " WHERE closed_at IS NULL AND is_wanted GROUP BY calendar_id HAVING count(*) > 1",
}


class AccountInvariants(Invariants):
    """Looks on in worlds with connected accounts too."""

    sim: AccountsSimulation

    def __init__(self, sim: AccountsSimulation) -> None:
        super().__init__(sim)
        self.losses: Counter[str] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._excuses: Counter[tuple[str, str]] = Counter()
        self._asked_at: dict[str, deque[datetime]] = defaultdict(deque)
        self._seen_used: set[Given] = set()
        self._taken_by: dict[str, Turn] = {}

    # Tokens

    def refreshing(self, authority: SimulatedAuthority, holder: Holder, token: str) -> None:
        """No storm; and nobody who could know better comes with a token that has been replaced."""
        now = self.sim.now()
        lately = self._asked_at[holder.email]
        lately.append(now)
        while lately[0] < now - timedelta(minutes=1):
            lately.popleft()
        if len(lately) > MOST_A_MINUTE:
            self.sim.violated(f"a storm: {len(lately)} refreshes a minute for {holder.email}")
        turn = self.sim.stage.current
        if turn is None or _has_lost_its_lease(turn) or not authority.is_spent(token):
            return
        family = authority.fake._family_of(token)
        stored = self._stored_tokens(holder)
        if any(authority.fake._family_of(one) is family and one != token for one in stored):
            self.sim.violated(
                f"I14 a refresh token of {holder.email} was sent though another is stored"
            )

    def sending(self, authority: SimulatedAuthority, holder: Holder, token: str) -> None:
        """I14: a refresh token that was replaced is not sent again, unless nobody could know."""
        turn = self.sim.stage.current
        taker = self._taken_by.get(token)  # who was given another for it, and may sleep with it
        is_excused = token in authority.doubtful or any(
            one is None or _has_lost_its_lease(one) for one in (turn, taker or turn)
        )
        if authority.is_spent(token) and not is_excused:
            self.sim.violated(f"I14 a superseded refresh token of {holder.email} was sent again")
        if not authority.is_alive(token) and turn is not None:
            self.sim.note(f"{token} is refused")
            if _has_lost_its_lease(turn):
                return  # it slept meanwhile, and cannot know
            dead = (holder.platform, token)
            turn.notes.setdefault("refused", []).append(dead)
            self._refused[dead] += 1
            if self._refused[dead] > MOST_REFUSALS + self._excuses[dead]:
                times = self._refused[dead]
                self.sim.violated(f"a storm: a dead token of {holder.email} was sent {times} times")

    def answered(self, authority: SimulatedAuthority, holder: Holder, sent: str, given: str) -> None:
        """Expect the new refresh token to be stored by whoever has got it."""
        turn = self.sim.stage.current
        if turn is not None:
            turn.notes.setdefault("rotated", []).append((authority, holder, sent, given))
            self._taken_by[sent] = turn

    def turn_ended(self, turn: Turn) -> None:
        """I14: what a live turn was given is stored; only death loses it, or sleep that harms nobody."""
        did_fail = turn.raised is not None
        for dead in turn.notes.pop("refused", []):
            if did_fail or _has_lost_its_lease(turn):
                self._excuses[dead] += 1
        for authority, holder, sent, given in turn.notes.pop("rotated", []):
            self._taken_by.pop(sent, None)
            if isinstance(turn.raised, Crash) or turn.is_dead:
                authority.doubtful.add(sent)
            elif _has_lost_its_lease(turn) and any(
                authority.is_alive(one) for one in self._stored_tokens(holder)
            ):
                continue  # somebody has refreshed while it slept, and what that one stored is good
            elif not self._is_stored(authority, holder, given):
                self.sim.violated(f"I14 a rotated refresh token of {holder.email} was not stored")

    def using(self, authority: SimulatedAuthority, given: Given) -> None:
        """I14: an access token is used only when the refresh token that came with it is durable."""
        if given.refresh_token is None or given.is_first or given in self._seen_used:
            return
        self._seen_used.add(given)
        if not self._is_stored(authority, given.holder, given.refresh_token):
            self.sim.violated(f"I14 a token of {given.holder.email} was used before it was stored")

    def _is_stored(self, authority: SimulatedAuthority, holder: Holder, token: str) -> bool:
        serials = authority.serials
        return any(serials[one] >= serials[token] for one in self._stored_tokens(holder))

    def _stored_tokens(self, holder: Holder) -> list[str]:
        with self.sim.database.engine.begin() as tx:
            rows = self._connections(tx, holder)
        return [self.opened(row) for row in rows]

    def _connections(self, tx: Connection, holder: Holder) -> Sequence[RowMapping]:
        who = {"platform": holder.platform, "account": holder.account.id}
        return tx.execute(_CONNECTIONS, who).mappings().all()

    def opened(self, row: RowMapping) -> str:
        where = place("connections", "refresh_token", row["id"])
        return self.sim.rt.vault.open(row["refresh_token"], place=where)

    # What commits show

    def after_commit(self) -> None:
        sights, self.sim.database.sights = self.sim.database.sights, []
        super().after_commit()
        for name, row_id in sights:
            if name == "cursor":
                self._check_reading(row_id)
            else:
                self._check_loss(row_id)

    def _check_loss(self, connection_id: str) -> None:
        """I15: a consent is given up only when it is gone."""
        for holder in self.sim.holders:
            with self.sim.database.engine.begin() as tx:
                rows = [row for row in self._connections(tx, holder) if str(row["id"]) == connection_id]
            for row in rows:
                authority = self.sim.authorities[holder.platform]
                if authority.is_alive(self.opened(row)):
                    self.sim.violated(f"I15 the consent of {holder.email} was given up, and it is good")
                holder.lost_at = self.sim.now()
                self.losses[holder.email] += 1

    def _check_reading(self, calendar_id: str) -> None:
        """I11: what was said up to the cursor is applied."""
        with self.sim.database.engine.begin() as tx:
            calendar = tx.execute(_READ, {"id": calendar_id}).mappings().one_or_none()
            if calendar is None or calendar["cursor"] is None:
                return
            stored = self._events(tx, calendar["id"])
        held = self.sim.holder_of(calendar["platform"], calendar["account"]).calendars
        before, since = held.said_until(calendar["external_id"], calendar["cursor"])
        last: dict[str, Event | None] = {}
        for entry in before:
            last |= entry
        for name, version in last.items():
            later = [entry[name] for entry in since if name in entry]
            row = stored.get(name)
            if name in held.unsaid or any(
                self._fits(row, one, calendar["window_until"]) for one in (version, *later)
            ):
                continue
            self.sim.violated(f"I11 the cursor passed a change of event {name} that is not applied")

    def _fits(self, row: RowMapping | None, version: Event | None, until: datetime) -> bool:
        """Say whether a stored event is one version of it; what is over may be stored in any way."""
        now = self.sim.now()
        if row is not None and row["end_at"] <= now:
            return True
        if version is None:
            return row is None or bool(row["deleted"])
        if version.end <= now or version.start >= until:
            return True
        return row is not None and _is_version(row, version)

    def _events(self, tx: Connection, calendar_id: UUID) -> dict[str, RowMapping]:
        return {row["external_id"]: row for row in tx.execute(_STORED, {"id": calendar_id}).mappings()}

    # Bots

    def _check_deletion(self, bot_id: str, why: str) -> None:
        """I15: no bot goes because nobody can be asked for it any more."""
        super()._check_deletion(bot_id, why)
        bot = self.sim.ws.bots.get(bot_id)
        slot = None if bot is None else bot.metadata.get("punctual_slot")
        if bot is None or slot is None:
            return
        others = [one for one in self.sim.ws.live_bots() if one.metadata.get("punctual_slot") == slot]
        if others or not self.sim.author.is_wanted_by_lost_alone(
            (bot.meeting_url, bot.join_at), since=KNOWN_AFTER
        ):
            return
        self.sim.violated(f"I15 bot {bot_id} went with a consent ({why})")

    # At rest

    def unrest(self, *, posts: bool = False) -> str | None:
        found = super().unrest(posts=posts)
        if found is not None or posts:
            return found
        with self.sim.database.engine.begin() as tx:
            row = tx.execute(text(_UNREST)).first()
            return None if row is None else str(row[0])

    def at_rest(self) -> None:
        super().at_rest()
        with self.sim.database.engine.begin() as tx:
            for words, query in _AT_REST.items():
                if (found := tx.execute(text(query)).first()) is not None:
                    self.sim.violated(f"{words}: {tuple(found)}")
            for holder in self.sim.holders:
                self._check_words(tx, holder)

    def _check_words(self, tx: Connection, holder: Holder) -> None:
        """I15: a lost consent is told once for each calendar."""
        told = tx.execute(
            text(
                "SELECT subject, count(*) FROM outbox JOIN calendars ON subject = 'calendar/' || calendars.id"
                " JOIN connections ON connections.id = connection_id WHERE type = 'calendar.needs_reauth'"
                " AND connections.platform = :platform AND account = :account GROUP BY subject"
            ),
            {"platform": holder.platform, "account": holder.account.id},
        )
        for subject, count in told:
            if count > self.losses[holder.email]:
                self.sim.violated(f"I15 {subject}: {count} words of {self.losses[holder.email]} losses")

    def _odd_event(self, tx: Connection) -> str | None:
        return super()._odd_event(tx) or self._odd_account(tx)

    def _odd_account(self, tx: Connection) -> str | None:
        """I1, for calendars that we read: which are followed, and what is stored of them."""
        followed = {
            (row["platform"], row["account"], row["external_id"]): row
            for row in tx.execute(_FOLLOWED).mappings()
        }
        wanted = {
            (holder.platform, holder.account.id, calendar): holder
            for holder in self.sim.holders
            if holder.wants_us
            for calendar in holder.chosen
        }
        if odd := followed.keys() ^ wanted.keys():
            return f"calendar {min(odd)} should{' not' if min(odd) in followed else ''} be followed"
        for key, holder in wanted.items():
            row = followed[key]
            if row["status"] != "connected":
                return f"calendar {key} is {row['status']}"
            if not row["has_channel"]:
                return f"calendar {key} has no channel"
            if odd_one := self._odd_stored(self._events(tx, row["id"]), holder, key[2]):
                return odd_one
        return None

    def _odd_stored(
        self, stored: Mapping[str, RowMapping], holder: Holder, calendar: str
    ) -> str | None:
        now = self.sim.now()
        present = {
            event.external_id: event
            for event in holder.calendars.present(calendar)
            if event.end > now and event.start < now + SURELY_SEEN
        }
        for name, event in present.items():
            row = stored.get(name)
            if row is None or not _is_version(row, event):
                return f"I1 event {name} is stored otherwise than it is"
        for name, row in stored.items():
            is_ahead = row["end_at"] > now and row["start_at"] < now + SURELY_SEEN
            if is_ahead and not row["deleted"] and name not in present:
                if name in holder.calendars.unsaid and not self.sim.is_patient_no_more:
                    continue
                return f"I1 event {name} is stored, and is there no more"
        return None


def _is_version(row: RowMapping, event: Event) -> bool:
    link = None if event.link is None else event.link.key
    stored: tuple[Any, ...] = (row["deleted"], row["start_at"], row["end_at"], row["link_key"])
    return stored == (False, event.start, event.end, link)


def _has_lost_its_lease(turn: Turn) -> bool:
    return any(kind == "Connection" for kind, _ in turn.overtaken)


__all__ = ["AccountInvariants", "Entry"]
