"""A row the database refuses is quoted in its error; nothing of it reaches a log or another error."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import IntegrityError

from models.tables.calendars import Calendar
from models.tables.due import table_of
from tests.builders import a_calendar
from worker.logs import set_up_logs

DOUBLED = "cal-canary"  # by name, because a traceback shows the lines of the program
OWNER = "Canary\nof two lines"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Logging as a process sets it up, written to memory."""
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    set_up_logs("json")
    yield written
    structlog.configure(**config)
    root.handlers = handlers
    root.setLevel(level)


def refuse(db: Engine, owner: str) -> IntegrityError:
    """Have the database refuse a calendar of somebody's."""
    with pytest.raises(IntegrityError) as refused, db.begin() as tx:
        tx.execute(
            insert(table_of(Calendar)).values(
                source="recall", external_id="cal-x", owner=owner, status="no such status"
            )
        )
    return refused.value


@pytest.mark.parametrize("owner", ["Canary", OWNER])
def test_a_refused_row_is_not_logged(db: Engine, written: io.StringIO, owner: str) -> None:
    try:
        raise refuse(db, owner)
    except IntegrityError as refused:
        structlog.get_logger("ours").exception("turn_failed")
        logging.getLogger("a library").error("raised unexpected: %r", refused)

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"][:10] for line in lines] == ["turn_faile", "raised une"]
    assert "CheckViolation" in written.getvalue() or "NotNullViolation" in written.getvalue()
    assert "Canary" not in written.getvalue()
    assert "of two lines" not in written.getvalue()
    assert "Traceback" in lines[0]["exception"]


def test_a_doubled_key_is_not_logged(db: Engine, written: io.StringIO) -> None:
    a_calendar(db, DOUBLED)
    try:
        a_calendar(db, DOUBLED)
    except IntegrityError:
        structlog.get_logger("ours").exception("turn_failed")

    assert "UniqueViolation" in written.getvalue()
    assert DOUBLED not in written.getvalue()


def test_an_error_does_not_quote_the_values_of_its_statement(db: Engine) -> None:
    with pytest.raises(Exception, match="canary_no_such_column") as failed, db.begin() as tx:
        tx.execute(text("SELECT canary_no_such_column WHERE :title = 'x'"), {"title": "Canary"})

    assert "'Canary'" not in str(failed.value)
