"""Which slot each event belongs to after a change: move a whole slot, join another, or open one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

SlotId = TypeVar("SlotId", bound=Hashable)
EventId = TypeVar("EventId", bound=Hashable)


@dataclass(frozen=True, slots=True)
class OpenSlot(Generic[SlotId, EventId]):
    """
    A slot that exists: its key, who wants it now, and whether it may be given another key.

    A slot may move while its bot has not been dispatched; afterwards its story is told.
    """

    id: SlotId
    key: str
    wants: frozenset[EventId]
    may_move: bool


def moves(
    slots: Mapping[SlotId, OpenSlot[SlotId, EventId]], targets: Mapping[EventId, str | None]
) -> dict[SlotId, str]:
    """
    Say which slots get a new key.

    *targets* holds the key each changed event now points at (None: none); an event not named stays
    where it is. A slot moves when every event that still wants a bot points at one and the same
    other key, and no slot stays behind at that key. Two slots that trade places both move. Of
    several that could move to one key the first in order of *slots* does.
    """
    wishes: dict[SlotId, str] = {}
    taken: set[str] = set()
    for slot_id, slot in slots.items():
        keys = {targets.get(event, slot.key) for event in slot.wants} - {None}
        if len(keys) != 1 or not slot.may_move:
            continue
        (key,) = keys
        if key is not None and key != slot.key and key not in taken:
            wishes[slot_id] = key
            taken.add(key)
    holders = {slot.key: slot_id for slot_id, slot in slots.items()}
    while True:
        blocked = [
            slot_id for slot_id, key in wishes.items() if key in holders and holders[key] not in wishes
        ]
        if not blocked:
            return wishes
        for slot_id in blocked:
            del wishes[slot_id]
