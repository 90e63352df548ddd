"""Which slots move, join or stay when events change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.domain.placing import OpenSlot, moves


def a_slot(slot_id: str, key: str, *wants: str, may_move: bool = True) -> OpenSlot[str, str]:
    return OpenSlot(id=slot_id, key=key, wants=frozenset(wants), may_move=may_move)


def test_a_slot_whose_every_event_moved_moves_as_one() -> None:
    slots = {"s": a_slot("s", "ten", "anna", "ben")}

    assert moves(slots, {"anna": "eleven", "ben": "eleven"}) == {"s": "eleven"}


def test_a_slot_stays_when_only_one_of_its_events_moved() -> None:
    slots = {"s": a_slot("s", "ten", "anna", "ben")}

    assert moves(slots, {"anna": "eleven"}) == {}


def test_an_event_that_wants_nothing_any_more_has_no_say() -> None:
    slots = {"s": a_slot("s", "ten", "anna", "ben")}

    assert moves(slots, {"anna": None, "ben": "eleven"}) == {"s": "eleven"}


def test_a_slot_does_not_move_to_where_another_stays() -> None:
    slots = {"s": a_slot("s", "ten", "anna"), "t": a_slot("t", "eleven", "ben")}

    assert moves(slots, {"anna": "eleven"}) == {}


def test_two_slots_trade_places() -> None:
    slots = {"s": a_slot("s", "ten", "anna"), "t": a_slot("t", "eleven", "ben")}

    assert moves(slots, {"anna": "eleven", "ben": "ten"}) == {"s": "eleven", "t": "ten"}


def test_of_two_slots_bound_for_one_key_one_moves() -> None:
    slots = {"s": a_slot("s", "ten", "anna"), "t": a_slot("t", "eleven", "ben")}

    assert moves(slots, {"anna": "noon", "ben": "noon"}) == {"s": "noon"}


def test_a_slot_whose_bot_is_in_the_call_does_not_move() -> None:
    slots = {"s": a_slot("s", "ten", "anna", may_move=False)}

    assert moves(slots, {"anna": "eleven"}) == {}


KEYS = st.sampled_from(["nine", "ten", "eleven", "noon"])
EVENTS = st.sampled_from(["anna", "ben", "cleo", "dan", "eve"])


@given(
    st.dictionaries(KEYS, st.sets(EVENTS), max_size=4),
    st.dictionaries(EVENTS, st.one_of(st.none(), KEYS)),
)
def test_after_any_moves_no_two_slots_share_a_key(
    wants_by_key: dict[str, set[str]], targets: dict[str, str | None]
) -> None:
    slots = {f"slot {key}": a_slot(f"slot {key}", key, *wants) for key, wants in wants_by_key.items()}

    moved = moves(slots, targets)

    keys = [moved.get(slot_id, slot.key) for slot_id, slot in slots.items()]
    assert len(keys) == len(set(keys))
