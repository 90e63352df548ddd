"""What the doctor finds, and what it says to do about it."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, NullPool, create_engine, insert, text

from models.db import Tx, driver_url
from models.sealing import Vault
from models.tables.base import new_id
from models.tables.due import table_of
from models.tables.events import QuarantinedEvent
from models.tables.installation import Heartbeat
from models.tables.slots import Slot
from models.tables.trail import SyncRun
from tests.builders import NOON, a_calendar, a_channel, a_connection, an_installation
from tests.publishers.kit import tell
from tests.worker.commands_kit import Punctual, World, punctual, world
from worker import checkup
from worker.checkup import Finding
from worker.settings import Settings

__all__ = ["punctual", "world"]


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


def levels(findings: Iterable[Finding]) -> set[str]:
    return {finding.level for finding in findings}


def whsec(key: bytes) -> str:
    return f"whsec_{base64.b64encode(key).decode()}"


def test_a_healthy_database_passes(db: Engine) -> None:
    with db.begin() as tx:
        assert checkup.check_schema(tx).level == "ok"
        assert checkup.check_clock(tx, now=_now(tx)).level == "ok"
    assert levels(checkup.check_database(db)) == {"ok"}


def test_a_database_that_may_lose_commits_is_a_fault(database_url: str) -> None:
    options = {"options": "-c synchronous_commit=off"}
    loose = create_engine(driver_url(database_url), connect_args=options, poolclass=NullPool)

    (finding,) = checkup.check_database(loose)

    assert finding.level == "fault"
    assert "synchronous_commit is off" in finding.what


def test_a_clock_that_is_minutes_off_is_a_fault(db: Engine) -> None:
    with db.begin() as tx:
        slow = checkup.check_clock(tx, now=_now(tx) - timedelta(minutes=4))
        slightly = checkup.check_clock(tx, now=_now(tx) + timedelta(seconds=20))

    assert (slow.level, slightly.level) == ("fault", "warning")
    assert "ahead of ours" in slow.what


def test_values_sealed_with_a_lost_key_are_a_fault(world: World) -> None:
    world.put()
    world.notify()
    world.work()

    with world.rt.db.begin() as tx:
        right = list(checkup.check_encryption(tx, world.rt.vault))
        wrong = list(checkup.check_encryption(tx, Vault([b"x" * 32])))
        rotated = list(checkup.check_encryption(tx, Vault([b"x" * 32, b"k" * 32])))

    assert levels(right) == {"ok"}
    assert levels(wrong) == {"fault"}
    assert "keep it, or run" in rotated[0].what


def test_without_a_valid_api_key_nobody_gets_in(db: Engine) -> None:
    with db.begin() as tx:
        assert checkup.check_api_keys(tx, now=NOON).level == "fault"


def test_a_missing_or_public_webhook_secret_is_a_fault() -> None:
    good = whsec(bytes(range(24)))
    public = min(checkup.PUBLIC_SECRETS)

    assert checkup.check_webhook_secret(settings()).level == "fault"
    assert checkup.check_webhook_secret(settings(recall_webhook_secrets=[public])).level == "fault"
    assert (
        checkup.check_webhook_secret(settings(recall_webhook_secrets=[whsec(b"a" * 24)])).level
        == "fault"
    )
    assert checkup.check_webhook_secret(settings(recall_webhook_secrets=[good])).level == "ok"


def test_a_provider_that_refuses_our_key_is_a_fault() -> None:
    findings = _asked(lambda request: httpx.Response(401, request=request))

    assert findings[0].level == "fault"
    assert "does not take our key (401)" in findings[0].what


def test_a_provider_with_another_time_is_told() -> None:
    late = {"date": "Mon, 23 Nov 2026 11:50:00 GMT"}
    findings = _asked(lambda request: httpx.Response(200, headers=late, request=request))

    assert [finding.level for finding in findings] == ["ok", "fault"]
    assert "is 600 s behind ours" in findings[1].what


def test_a_provider_that_is_down_is_a_fault() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    (finding,) = _asked(refuse)

    assert finding.level == "fault"
    assert finding.todo is not None


def test_changes_that_only_polls_find_mean_that_webhooks_are_lost(db: Engine) -> None:
    with db.begin() as tx:
        tx.execute(
            insert(table_of(SyncRun)).values(
                source="recall", scope="workspace", changes=3, started_at=NOON - timedelta(hours=2)
            )
        )
        silent = checkup.check_silence(tx, now=NOON)
        tx.execute(
            text(
                "INSERT INTO deliveries (id, source, message_id, body, received_at)"
                " VALUES (:id, 'recall', 'm', '', :at)"
            ),
            {"id": new_id(), "at": NOON - timedelta(minutes=5)},
        )
        heard = checkup.check_silence(tx, now=NOON)

    assert silent.level == "fault"
    assert "dashboard" in (silent.todo or "")
    assert heard.level == "ok"


def test_a_parked_calendar_is_named_with_its_reason(db: Engine) -> None:
    calendar_id = a_calendar(db, parked_at=NOON, last_error="sync: 500")

    with db.begin() as tx:
        (finding,) = checkup.check_parked(tx)

    assert finding.level == "fault"
    assert f"{calendar_id}: sync: 500" in finding.what


@pytest.mark.parametrize("kind", ["connection", "push channel"])
def test_whatever_of_an_account_is_set_aside_is_named_with_the_way_back(db: Engine, kind: str) -> None:
    aside: dict[str, Any] = {"parked_at": NOON, "last_error": "answered 500"}
    row_id = (
        a_connection(db, **aside) if kind == "connection" else a_channel(db, a_calendar(db), **aside)
    )

    with db.begin() as tx:
        (finding,) = checkup.check_parked(tx)

    assert f"1 {kind}: {row_id}: answered 500" in finding.what
    assert f"`punctual revive {kind.rsplit(maxsplit=1)[-1]}s ID`" in (finding.todo or "")


def test_each_quarantined_event_is_named(db: Engine) -> None:
    with db.begin() as tx:
        for nth in range(3):
            tx.execute(
                insert(table_of(QuarantinedEvent)).values(
                    source="recall",
                    external_id=f"event-{nth}",
                    calendar_ref="cal-anna",
                    reason="no start",
                )
            )
        findings = list(checkup.check_quarantine(tx))

    assert levels(findings) == {"warning"}
    assert sorted(finding.what for finding in findings) == [
        f"calendar cal-anna, event event-{nth}: no start" for nth in range(3)
    ]


def test_work_that_waits_for_minutes_is_told(db: Engine) -> None:
    a_calendar(db, wanted=1, due_at=NOON.replace(year=2020))

    with db.begin() as tx:
        (finding,) = checkup.check_due(tx)

    assert finding.level == "fault"
    assert "the oldest calendar" in finding.what


def test_domain_events_that_nobody_is_bound_for_are_told(db: Engine) -> None:
    tell(db, "bot/a")
    with db.begin() as tx:
        tx.execute(text("UPDATE outbox SET publish_tries = 2, created_at = now() - interval '1 hour'"))
        with_broker = checkup.check_outbox(tx, settings(events_url="amqp://localhost"))
        tx.execute(text("UPDATE outbox SET position = 1"))
        without = checkup.check_outbox(tx, settings())

    assert with_broker.level == "fault"
    assert "no queue is bound" in with_broker.what
    assert without.level == "ok"


def test_a_disabled_endpoint_is_told(db: Engine) -> None:
    with db.begin() as tx:
        tx.execute(
            text(
                "INSERT INTO endpoints (id, url, state, state_reason)"
                " VALUES (:id, '', 'disabled', 'answered 410')"
            ),
            {"id": new_id()},
        )
        (finding,) = checkup.check_endpoints(tx)

    assert (finding.level, "answered 410" in finding.what) == ("warning", True)


def test_a_calendar_without_its_permission_is_told(db: Engine) -> None:
    a_calendar(db, status="needs_reauth", status_reason="invalid_grant")

    with db.begin() as tx:
        (finding,) = checkup.check_calendars(tx)

    assert "is needs_reauth: invalid_grant" in finding.what


def test_a_meeting_that_begins_without_a_bot_is_a_fault(world: World) -> None:
    world.put(start=world.rt.now() + timedelta(minutes=5))
    world.notify()
    world.work()
    with world.rt.db.begin() as tx:
        safe = list(checkup.check_bots(tx, now=world.rt.now()))
        tx.execute(table_of(Slot).update().values(bot_id=None, bot_state="wanted"))
        risky = list(checkup.check_bots(tx, now=world.rt.now()))

    assert (levels(safe), levels(risky)) == ({"ok"}, {"fault"})


def test_a_worker_that_is_silent_or_missing_is_a_fault(db: Engine) -> None:
    beats = table_of(Heartbeat)
    with db.begin() as tx:
        missing = checkup.check_heartbeat(tx)
        tx.execute(insert(beats).values(worker="a", seen_at=NOON.replace(year=2020)))
        silent = checkup.check_heartbeat(tx)
        tx.execute(insert(beats).values(worker="b"))
        alive = checkup.check_heartbeat(tx)

    assert (missing.level, silent.level, alive.level) == ("fault", "fault", "ok")


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_does_not_answer_is_a_fault_within_seconds(scheme: str) -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        finding = checkup.check_broker(settings(broker_url=f"{scheme}://127.0.0.1:{port}"))

    assert finding.level == "fault"
    assert time.monotonic() - began < 10


def test_the_broker_inside_one_process_is_always_there() -> None:
    assert checkup.check_broker(settings()).level == "ok"


def test_every_finding_that_is_not_ok_says_what_to_do(db: Engine) -> None:
    a_calendar(db, status="needs_reauth", parked_at=NOON, last_error="x")
    with db.begin() as tx:
        findings = [
            checkup.check_api_keys(tx, now=NOON),
            checkup.check_heartbeat(tx),
            *checkup.check_parked(tx),
            *checkup.check_calendars(tx),
        ]

    assert all(finding.todo for finding in findings)


def test_the_command_fails_on_faults_and_prints_them(db: Engine, punctual: Punctual) -> None:
    an_installation(db)

    result = punctual.run("doctor")

    assert result.exit_code == 1
    assert "none is running" in result.stdout
    assert "Start `punctual up` or `punctual work`." in result.stdout


def test_the_command_works_while_the_database_is_down(punctual: Punctual) -> None:
    result = punctual.run("doctor", "--json", database_url="postgresql://nobody@127.0.0.1:1/nothing")

    assert result.exit_code == 1
    assert '"check": "database"' in result.stdout
    assert '"check": "disk"' in result.stdout


def test_the_command_works_with_settings_that_make_no_sense(punctual: Punctual) -> None:
    result = punctual.run("doctor", broker_url="smoke://signals", http_port="99999")

    assert result.exit_code == 1
    assert "PUNCTUAL_HTTP_PORT" in result.stdout


def test_the_command_is_content_when_everything_is_well(db: Engine, punctual: Punctual) -> None:
    an_installation(db)
    with db.begin() as tx:
        tx.execute(insert(table_of(Heartbeat)).values(worker="a"))
    punctual.json("keys", "api", "new", "ops")

    result = punctual.run("doctor")

    assert result.exit_code == 0, result.output
    assert "Faults: 0, warnings: 1." in result.stdout  # no Recall key


def _asked(answer: Any) -> list[Finding]:
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        return list(checkup.check_provider(settings(recall_api_key="key-of-ours"), http, now=NOON))


def _now(tx: Tx) -> Any:
    return tx.execute(text("SELECT clock_timestamp()")).scalar_one()
