"""
Duties that one process at a time performs, under a lease that a dead one does not keep.

Only the database's clock counts. Statements are built once.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

from sqlalchemy import Delete, Interval, bindparam, delete, func, or_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import ReturningInsert

from models.db import Tx
from models.tables.due import table_of
from models.tables.installation import Lease


def hold(tx: Tx, name: str, *, holder: str, lease: timedelta) -> bool:
    """Take a duty that is free or already ours, for as long as *lease* from now; False while another has it."""
    wanted = {"name": name, "holder": holder, "lease": lease}
    return tx.execute(_holding(), wanted).first() is not None


def leave(tx: Tx, name: str, *, holder: str) -> None:
    """Give up a duty; one that is not ours is left alone."""
    tx.execute(_leaving(), {"duty": name, "by": holder})


@functools.cache
def _holding() -> ReturningInsert[Any]:
    leases = table_of(Lease)
    until = func.clock_timestamp() + bindparam("lease", type_=Interval)
    wanted = upsert(leases).values(
        name=bindparam("name"), holder=bindparam("holder"), lease_until=until
    )
    is_free = or_(
        leases.c.holder == wanted.excluded.holder, leases.c.lease_until < func.clock_timestamp()
    )
    news = {"holder": wanted.excluded.holder, "lease_until": wanted.excluded.lease_until}
    return wanted.on_conflict_do_update(index_elements=["name"], set_=news, where=is_free).returning(
        leases.c.holder
    )


@functools.cache
def _leaving() -> Delete:
    leases = table_of(Lease)
    return delete(leases).where(leases.c.name == bindparam("duty"), leases.c.holder == bindparam("by"))
