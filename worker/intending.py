"""
What we are about to do to a bot, written down before the call and forgotten once its outcome is known.

While an intent stands, the same step is repeated under the same key. The provider answers that with
what it did the first time.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import RowMapping, bindparam, update

from models.db import Tx
from models.domain.bots import Step
from models.tables.due import table_of
from models.tables.slots import Slot

SLOTS = table_of(Slot)

# Built once: building a statement takes as long as having it carried out.
_OF_SLOT = update(SLOTS).where(SLOTS.c.id == bindparam("slot_id"))
_WRITE = _OF_SLOT.values(op=bindparam("step"), op_key=bindparam("goes_by"), op_at=bindparam("at"))
_CLEAR = _OF_SLOT.values(op=None, op_key=None, op_at=None, op_round=SLOTS.c.op_round + 1)


def is_repeat(slot: RowMapping, step: Step) -> bool:
    """Say whether the outcome of this very step is in doubt already."""
    return slot["op"] == step.name and slot["op_key"] is not None


def key_of_step(slot: RowMapping, step: Step, *, ask: int) -> UUID:
    """Return the key a step goes by: a repeat has the one it had; *ask* is what the run was claimed for."""
    if is_repeat(slot, step):
        key: UUID = slot["op_key"]
        return key
    return uuid5(slot["id"], f"{ask}:{step.name}:{slot['op_round']}")


def write_intent(tx: Tx, slot_id: UUID, step: Step, *, key: UUID, now: datetime) -> None:
    """Note what is about to be done; for a step that is no repeat."""
    tx.execute(_WRITE, {"slot_id": slot_id, "step": step.name, "goes_by": key, "at": now})


def clear_intent(tx: Tx, slot_id: UUID) -> None:
    """Forget the intent; whatever is tried next goes by another key."""
    tx.execute(_CLEAR, {"slot_id": slot_id})
