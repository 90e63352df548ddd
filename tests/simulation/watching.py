"""Sees which rows turns claim and serve, and which of their writes need no lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import worker.settling as settling_module
from models.tables import due
from models.tables.base import Due

if TYPE_CHECKING:
    from tests.simulation.scheduler import Scheduler


@contextmanager
def watched(sim: Scheduler) -> Iterator[None]:
    """See which rows turns claim and serve, and which writes need no lease."""
    claim, finish, settle_batch = due.claim, due.finish, settling_module.settle_batch
    put_off, park = due.put_off, due.park

    def seen_claim(tx: Any, row: type[Due], *args: Any, **kwargs: Any) -> due.Claim | None:
        claimed = claim(tx, row, *args, **kwargs)
        turn = sim.stage.current
        if claimed is not None and turn is not None:
            key = (row.__name__, str(claimed.id))
            turn.notes.setdefault("claimed", []).append((key, claimed.fence))
        return claimed

    def seen_finish(tx: Any, row: type[Due], claimed: due.Claim) -> bool:
        is_done = finish(tx, row, claimed)
        turn = sim.stage.current
        if is_done and turn is not None:
            turn.served.append((row.__name__, str(claimed.id)))
            turn.notes["listing_served"] = row.__name__ == "Source"
        return is_done

    def giving_back(give_back: Callable[..., bool]) -> Callable[..., bool]:
        def seen(tx: Any, row: type[Due], claimed: due.Claim, **how: Any) -> bool:
            is_done = give_back(tx, row, claimed, **how)
            turn = sim.stage.current
            if is_done and turn is not None:
                turn.served.append((row.__name__, str(claimed.id)))
            sim.rouse()
            return is_done

        return seen

    def seen_settle(*args: Any, **kwargs: Any) -> settling_module.Placed:
        turn = sim.stage.current
        if turn is not None:
            turn.notes["settled"] = True
        return settle_batch(*args, **kwargs)

    due.claim, due.finish, settling_module.settle_batch = seen_claim, seen_finish, seen_settle
    due.put_off, due.park = giving_back(put_off), giving_back(park)
    try:
        yield
    finally:
        due.claim, due.finish, settling_module.settle_batch = claim, finish, settle_batch
        due.put_off, due.park = put_off, park
