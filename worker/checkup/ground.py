"""The ground everything stands on: database, keys, clock, worker, disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, and_, func, or_, select, text

from models.db import Tx
from models.schema import current_revision, newest_revision
from models.sealing import CannotOpen, Vault, place
from models.tables import due
from models.tables.access import ApiKey
from models.tables.installation import Heartbeat
from worker.checkup.finding import NAMED, Finding, Level, compared, counted, worded
from worker.resealing import SEALED

OLDEST_POSTGRESQL = 150_000
BEAT_MISSED_S = 30.0
KEY_EXPIRES_SOON = timedelta(days=7)
LITTLE_SPACE_BYTES, NO_SPACE_BYTES = 2 * 1024**3, 256 * 1024**2
SAMPLED = 100


def check_database(db: Engine) -> Iterator[Finding]:
    """Is it new enough, and does a commit survive a power cut?"""
    with db.begin() as tx:
        version = int(tx.execute(text("SHOW server_version_num")).scalar_one())
        said = {
            name: tx.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        }
    if version < OLDEST_POSTGRESQL:
        yield Finding(
            "fault",
            "database",
            f"PostgreSQL {said['server_version']} is too old",
            "Use version 15 or newer.",
        )
        return
    loose = [
        name for name in ("fsync", "synchronous_commit", "full_page_writes") if said[name] == "off"
    ]
    if loose:
        yield Finding(
            "fault",
            "database",
            f"{', '.join(loose)} is off: an acknowledged notification can be lost",
            "Turn it on in the server's configuration, and for our role and database.",
        )
        return
    yield Finding("ok", "database", f"PostgreSQL {said['server_version']}, commits reach the disk")


def check_schema(tx: Tx) -> Finding:
    """Is the schema the one that this code expects?"""
    found, expected = current_revision(tx), newest_revision()
    if found == expected:
        return Finding("ok", "schema", f"up to date ({found})")
    if found is not None and found > expected:
        return Finding(
            "warning",
            "schema",
            f"newer ({found}) than this program ({expected})",
            "Update this program.",
        )
    return Finding(
        "fault", "schema", f"is at {found or 'nothing'}, not {expected}", "Run `punctual migrate`."
    )


def check_encryption(tx: Tx, vault: Vault) -> Iterator[Finding]:
    """Do the configured keys open what is stored?"""
    newest = unopened = older = opened = 0
    for row, column in SEALED:
        table = due.table_of(row)
        sealed = table.c[column]
        rows = tx.execute(
            select(table.c.id, sealed)
            .where(sealed.is_not(None))
            .order_by(table.c.id.desc())
            .limit(SAMPLED)
        )
        for row_id, value in rows:
            try:
                vault.open(value, place=place(table.name, column, row_id))
            except CannotOpen:
                unopened += 1
                continue
            opened += 1
            if vault.is_current(value):
                newest += 1
            else:
                older += 1
    if unopened:
        yield Finding(
            "fault",
            "encryption",
            f"{unopened} of {unopened + opened} stored values do not open with the configured keys",
            "Put the key they were sealed with back into PUNCTUAL_ENCRYPTION_KEYS, after the newest one.",
        )
    elif older:
        yield Finding(
            "ok",
            "encryption",
            f"opens; {older} values still need an older key: keep it, or run `punctual keys rotate`",
        )
    else:
        yield Finding(
            "ok", "encryption", f"opens all of {newest} values tried" if newest else "a key is there"
        )


def check_api_keys(tx: Tx, *, now: datetime) -> Finding:
    """Can somebody use the API?"""
    keys = due.table_of(ApiKey)
    is_valid = and_(
        keys.c.revoked_at.is_(None), or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)
    )
    valid = tx.execute(select(func.count()).select_from(keys).where(is_valid)).scalar_one()
    soon = tx.execute(
        select(keys.c.name).where(is_valid, keys.c.expires_at < now + KEY_EXPIRES_SOON).limit(NAMED)
    )
    expiring = list(soon.scalars())
    if not valid:
        return Finding(
            "fault", "api keys", "there is no valid API key", "Set PUNCTUAL_ADMIN_API_KEY and restart."
        )
    if expiring:
        return Finding(
            "warning",
            "api keys",
            f"expire within {KEY_EXPIRES_SOON.days} days: {', '.join(expiring)}",
            "Make new ones: `punctual keys api new NAME`.",
        )
    return Finding("ok", "api keys", f"{valid} valid")


def check_clock(tx: Tx, *, now: datetime) -> Finding:
    """Does the database's clock agree with ours? *now* was read a moment ago."""
    theirs: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
    return compared("clock", "the database's", (theirs - now).total_seconds())


def check_heartbeat(tx: Tx) -> Finding:
    """Is a worker alive?"""
    table = due.table_of(Heartbeat)
    age, size = tx.execute(
        select(func.extract("epoch", func.clock_timestamp() - func.max(table.c.seen_at)), func.count())
    ).one()
    if age is None:
        return Finding("fault", "worker", "none is running", "Start `punctual up` or `punctual work`.")
    if float(age) > BEAT_MISSED_S:
        return Finding(
            "fault",
            "worker",
            f"the last sign of life is {worded(timedelta(seconds=float(age)))} old",
            "Restart it; what it was doing is done again.",
        )
    return Finding(
        "ok", "worker", f"alive ({counted(size, 'process', 'processes')} seen, {float(age):.1f} s ago)"
    )


def check_space(data_dir: Path) -> Finding:
    """Is there room on the disk of the data directory?"""
    folder = next(path for path in (data_dir, *data_dir.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    words = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free < LITTLE_SPACE_BYTES:
        level: Level = "fault" if free < NO_SPACE_BYTES else "warning"
        return Finding(level, "disk", words, "Make room: a full disk stops the database.")
    return Finding("ok", "disk", words)
