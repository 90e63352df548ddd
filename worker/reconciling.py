"""
Bring one slot's bot in line with its slot: read, take one step, commit, repeat.

The only code that touches bots. What we are about to do is committed before the call, under a key
derived from slot, ask and operation; after an unknown outcome we look before we act.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import func, insert, select, update

from models.db import Tx
from models.domain.bots import Attached, BotState, Operation, Standing, Step
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot
from models.tables.trail import TrailEntry
from worker import jobs, metrics
from worker.errors import AlreadyGone, Refused, TooLate, TryLater
from worker.intending import clear_intent, is_repeat, key_of_step, write_intent
from worker.lining_up import SOONEST, give_way, join_line, leave_line, pull_forward
from worker.looked import Looked, next_fetch
from worker.ports import BotProvider
from worker.recording import (
    Change,
    announce,
    has_had_its_time,
    lock_carriers,
    mark_attached,
    record_standing,
)
from worker.removing import mark_deleted
from worker.runtime import Runtime
from worker.settling import settle
from worker.standing import Situation, situation_of, slot_for_reading
from worker.turns import Outcome, still_mine, take_turn

log = structlog.get_logger(__name__)

SLOTS = table_of(Slot)
EVENTS = table_of(CalendarEvent)
_TRAIL = insert(table_of(TrailEntry))

MOST_STEPS = 200
#: A provider remembers an Idempotency-Key for an hour (docs.recall.ai, idempotency); stop trusting it before.
KEY_LIFE = timedelta(minutes=50)
MOST_REPEATS = 3
#: Near its meeting a slot never waits longer than this (docs.recall.ai, errors: retry a 507 every 30 s).
NEAR = timedelta(minutes=10)
LONGEST_NEAR_WAIT = timedelta(seconds=30)
SOON = timedelta(hours=2)
#: A run gives its lease back before it could run out during a call.
TURN_TIME = timedelta(seconds=40)


def reconcile(rt: Runtime) -> Outcome:
    """
    Make the bot of one slot match the slot: of those that are due, the one that starts soonest.

    Whichever slot was rung for: the soonest meeting comes first, also for what is left of a budget.
    Safe to call at any time, any number of times, from any number of workers.
    """
    bots = rt.bots
    if bots is None:
        return Outcome.NOTHING_DUE
    seen: list[UUID] = []
    has_failed = False

    def work(claimed: due.Claim) -> None:
        nonlocal has_failed
        assert isinstance(claimed.id, UUID)
        seen.append(claimed.id)
        has_failed = claimed.tries > 0
        _Run(rt, bots, claimed, claimed.id).go()

    def longest_wait() -> timedelta | None:
        with rt.db.begin() as tx:
            slot = slot_for_reading(tx, seen[0])
        if slot is None or slot["ends_at"] <= rt.now():
            return None
        ahead: timedelta = slot["join_at"] - rt.now()
        # Never past the moment when it is near; and within two hours as often as anybody looks unasked.
        cap = ahead - NEAR if ahead > SOON else min(ahead - NEAR, rt.settings.reconcile_near)
        return max(LONGEST_NEAR_WAIT, cap)

    outcome = take_turn(rt, Slot, None, work, first=SOONEST, longest_wait=longest_wait)
    if outcome is Outcome.FINISHED and has_failed:
        for slot_id in pull_forward(rt.db):
            rt.bell.ring(jobs.RECONCILE, str(slot_id))
    if outcome is not Outcome.NOTHING_DUE:
        rt.bell.ring(jobs.RELAY)
    return outcome


@dataclass(frozen=True, slots=True)
class _Run:
    """One claimed slot being reconciled."""

    rt: Runtime
    bots: BotProvider
    claimed: due.Claim
    slot_id: UUID

    def go(self) -> None:
        deadline = self.rt.now() + TURN_TIME
        has_looked = False
        for _ in range(MOST_STEPS):
            situation = self._read()
            now = self.rt.now()
            if situation.is_held or _is_over(situation, now):
                self._finish(situation, now)
                return
            if self._outcome_is_unknown(situation, now, has_looked=has_looked):
                with self._in_turn(situation):
                    self._look(situation, now)
                has_looked = True
                continue
            step = self.bots.next_step(situation.seat, situation.standing, now=now)
            if step is None:
                self._finish(situation, now)
                return
            if now >= deadline:
                break
            with self._in_turn(situation):
                self._take(situation, step)
        msg = "more steps than one turn holds"
        raise TryLater(msg, after=timedelta(seconds=1), counts=False)

    @contextmanager
    def _in_turn(self, situation: Situation) -> Iterator[None]:
        """Have a slot that must wait for the provider's budget wait in order of meeting start."""
        try:
            yield
        except TryLater as later:
            if later.counts:
                raise
            with self.rt.db.begin() as tx:
                still_mine(tx, Slot, self.claimed)
                wait = join_line(tx, situation.slot, later)
            raise TryLater(str(later), after=wait, counts=False) from later

    def _read(self) -> Situation:
        rt = self.rt
        with rt.db.begin() as tx:
            situation = situation_of(tx, self.slot_id, vault=rt.vault, install_id=rt.install_id)
            if situation.slot["in_line"]:
                still_mine(tx, Slot, self.claimed)
                leave_line(tx, self.slot_id)
        return situation

    def _outcome_is_unknown(self, situation: Situation, now: datetime, *, has_looked: bool) -> bool:
        """
        Say whether an earlier call may have had an effect that we have not seen.

        Within the key's life the same step is simply repeated under the same key, which the
        provider answers with what it did the first time. But a bot is not made again before we have
        looked for it: a provider may not honour the key.
        """
        slot = situation.slot
        if slot["op"] is None:
            return False
        is_look_first = slot["op"] == Operation.CREATE and not has_looked
        return is_look_first or not self._may_repeat(situation, now)

    def _may_repeat(self, situation: Situation, now: datetime) -> bool:
        """Say whether the key still stands for what is to do; not for ever: it may remember an error."""
        step = self.bots.next_step(situation.seat, situation.standing, now=now)
        is_same = step is not None and is_repeat(situation.slot, step)
        is_fresh = now - situation.slot["op_at"] < KEY_LIFE and self.claimed.tries < MOST_REPEATS
        return is_same and is_fresh

    def _look(self, situation: Situation, now: datetime) -> None:
        with self.rt.db.begin() as tx:
            fetch = next_fetch(tx)
        found = self.bots.look(self.slot_id, situation.seat, situation.standing)
        with self.rt.db.begin() as tx:
            lock_carriers(tx, situation)
            still_mine(tx, Slot, self.claimed)
            if has_had_its_time(tx, situation, found):
                rest = tuple(one for one in found.attached if one.bot_id != found.bot_id)
                found = Standing(attached=rest)
            # A list may lag: while the key stands, what it does not show is asked for under that key.
            if found.bot_id is not None or not self._may_repeat(situation, now):
                clear_intent(tx, self.slot_id)
            left = record_standing(tx, situation, found, fetch=fetch, change=Change.SEEN)
            due.ask(tx, Slot, left)
            _leave_trail(tx, self.slot_id, "observed", bot_id=found.bot_id, state=str(found.state))

    def _take(self, situation: Situation, step: Step) -> None:
        key = self._intend(situation, step)
        try:
            standing = self.bots.carry_out(step, key=key)
        except TryLater as later:
            # That a repeat did nothing says nothing of the first try.
            is_definite = later.is_definite and not is_repeat(situation.slot, step)
            self._note(step, "try later", later, is_definite=is_definite)
            raise
        except TooLate as late:
            self._note(step, "too late", late)
            self._mark_dispatched(step)
            return
        except AlreadyGone as gone:
            self._note(step, "already gone", gone)
            self._forget(situation, step)
            return
        except Refused as refused:
            self._note(step, "refused", refused)
            self._fail(situation, str(refused))
            raise
        self._record(situation, step, standing)

    def _intend(self, situation: Situation, step: Step) -> UUID:
        """Commit what we are about to do; a repeat of it gets the key it had."""
        slot = situation.slot
        key = key_of_step(slot, step, ask=self.claimed.wanted)
        with self.rt.db.begin() as tx:
            lock_carriers(tx, situation, step)
            still_mine(tx, Slot, self.claimed)
            give_way(tx, slot)
            if not is_repeat(slot, step):
                write_intent(tx, self.slot_id, step, key=key, now=self.rt.now())
            if step.operation is Operation.ATTACH:
                # Should its want go away while the answer is in doubt, this slot still knows of it.
                mark_attached(tx, self.slot_id, step)
            _leave_trail(tx, self.slot_id, "called", operation=str(step.operation), key=str(key))
        return key

    def _note(self, step: Step, outcome: str, reason: Exception, *, is_definite: bool = True) -> None:
        """Write down an answer that was not a success; a definite one ends the intent."""
        metrics.BOT_STEPS.labels(str(step.operation), outcome.replace(" ", "_")).inc()
        with self.rt.db.begin() as tx:
            still_mine(tx, Slot, self.claimed)
            if is_definite:
                clear_intent(tx, self.slot_id)
            answer = f"{outcome}: {reason}"
            _leave_trail(tx, self.slot_id, "answered", operation=str(step.operation), answer=answer)

    def _record(self, situation: Situation, step: Step, standing: Standing) -> None:
        with self.rt.db.begin() as tx:
            lock_carriers(tx, situation, step)
            still_mine(tx, Slot, self.claimed)
            fetch = next_fetch(tx)
            clear_intent(tx, self.slot_id)
            _leave_trail(
                tx,
                self.slot_id,
                "answered",
                operation=str(step.operation),
                answer="done",
                bot_id=standing.bot_id,
            )
            change = Change.PUT if step.seat is not None else Change.TAKEN
            left = record_standing(tx, situation, standing, fetch=fetch, change=change, step=step)
            due.ask(tx, Slot, left)
            announce(tx, self.slot_id, now=self.rt.now(), vault=self.rt.vault)
        metrics.BOT_STEPS.labels(str(step.operation), "done").inc()
        for slot_id in left:
            self.rt.bell.ring(jobs.RECONCILE, str(slot_id))
        log.info(
            "bot_step_taken",
            slot_id=str(self.slot_id),
            operation=str(step.operation),
            bot_id=standing.bot_id,
        )

    def _mark_dispatched(self, step: Step) -> None:
        if step.operation is Operation.LEAVE:
            msg = "the bot does not leave yet"
            raise TryLater(msg, after=timedelta(seconds=5))
        with self.rt.db.begin() as tx:
            still_mine(tx, Slot, self.claimed)
            tx.execute(
                update(SLOTS)
                .where(
                    SLOTS.c.id == self.slot_id,
                    SLOTS.c.bot_state.in_([BotState.WANTED, BotState.SCHEDULED]),
                )
                .values(bot_state=str(BotState.JOINING), bot_state_at=func.now())
            )

    def _forget(self, situation: Situation, step: Step) -> None:
        """The bot, or the event it hangs on, is not there any more: write that down and go on."""
        if step.operation is Operation.ATTACH:
            with self.rt.db.begin() as tx:
                lock_carriers(tx, situation, step)
                still_mine(tx, Slot, self.claimed)
                _bury_event(tx, self.rt, step)
            settle(self.rt)
            return
        with self.rt.db.begin() as tx:
            lock_carriers(tx, situation, step)
            still_mine(tx, Slot, self.claimed)
            attached = tuple(
                Attached(one.event, None, None, is_deleted=True) if one.event == step.event else one
                for one in situation.standing.attached
            )
            gone = Standing(attached=attached)
            record_standing(tx, situation, gone, fetch=next_fetch(tx), change=Change.TAKEN, step=step)
            due.ask(tx, Slot, [self.slot_id])

    def _fail(self, situation: Situation, reason: str) -> None:
        """The provider will never accept this seat: the bot has failed until somebody changes the seat."""
        if situation.seat is None:
            return
        with self.rt.db.begin() as tx:
            still_mine(tx, Slot, self.claimed)
            tx.execute(
                update(SLOTS)
                .where(SLOTS.c.id == self.slot_id)
                .values(
                    bot_state=str(BotState.FAILED),
                    bot_state_at=func.now(),
                    last_error=reason[: due.ERROR_LENGTH],
                    updated_at=func.now(),
                )
            )
            announce(tx, self.slot_id, now=self.rt.now(), vault=self.rt.vault)

    def _finish(self, situation: Situation, now: datetime) -> None:
        """Nothing is left to do: say so in the row, and tell the world if the bot is gone."""
        with self.rt.db.begin() as tx:
            lock_carriers(tx, situation)
            still_mine(tx, Slot, self.claimed)
            slot = situation.slot
            values: dict[str, object] = {} if slot["notified_at"] is None else {"notified_at": None}
            if not slot["is_wanted"]:
                values |= _closing(situation)
                tx.execute(
                    update(EVENTS)
                    .where(EVENTS.c.attached_slot_id == self.slot_id)
                    .values(attached_slot_id=None, attached_hash=None)
                )
            if values:
                tx.execute(update(SLOTS).where(SLOTS.c.id == self.slot_id).values(**values))
            announce(tx, self.slot_id, now=now, vault=self.rt.vault)
            due.finish(tx, Slot, self.claimed)
        if slot["notified_at"] is not None:
            metrics.BOT_LAG.observe(max(0.0, (now - slot["notified_at"]).total_seconds()))
        log.info(
            "slot_reconciled",
            slot_id=str(self.slot_id),
            is_wanted=slot["is_wanted"],
            is_held=situation.is_held,
        )


def _is_over(situation: Situation, now: datetime) -> bool:
    """
    Say whether the meeting has ended and nothing may be done about its bot any more.

    A bot that stands although nobody wants it still has to go, however late it is.
    """
    return situation.seat is not None and situation.slot["ends_at"] <= now


def _closing(situation: Situation) -> dict[str, object]:
    state = situation.standing.state
    closing: dict[str, object] = {"closed_at": func.now()}
    if not state.is_over:
        closing |= {"bot_state": str(BotState.CANCELLED), "bot_state_at": func.now()}
        closing |= {"bot_id": None, "updated_at": func.now()}
    return closing


def _bury_event(tx: Tx, rt: Runtime, step: Step) -> None:
    calendars = table_of(Calendar)
    ids = tx.execute(
        select(EVENTS.c.id)
        .join(calendars, calendars.c.id == EVENTS.c.calendar_id)
        .where(calendars.c.source == "recall", EVENTS.c.external_id == step.event)
    ).scalars()
    looked = Looked(source="recall", fetch=next_fetch(tx), run_id=UUID(int=0), now=rt.now())
    mark_deleted(tx, list(ids), looked, vault=rt.vault)


def _leave_trail(tx: Tx, slot_id: UUID, step: str, **facts: object) -> None:
    known = {name: value for name, value in facts.items() if value is not None}
    tx.execute(_TRAIL, {"slot_id": slot_id, "step": step, "facts": known})
