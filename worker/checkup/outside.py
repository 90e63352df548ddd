"""The way to and from the outside: broker, provider, notifications."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
from sqlalchemy import exists, func, select

from models.db import Tx
from models.tables import due
from models.tables.inbox import Delivery
from models.tables.trail import SyncRun
from worker.checkup.finding import Finding, compared, worded
from worker.settings import Settings, signing_key

SILENCE = timedelta(hours=1)
LOOKED_BACK = timedelta(days=1)
SHORT_SECRET_BYTES = 24
#: Printed in Svix's and Recall's documentation; everybody knows them.
PUBLIC_SECRETS = frozenset({"whsec_plJ3nmyCDGBKInavdOK15jsl", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})


def check_broker(settings: Settings) -> Finding:
    """Does the broker answer within seconds?"""
    from worker.app import make_celery

    broker = settings.broker_url.get_secret_value()
    if broker.startswith("memory://"):
        return Finding("ok", "broker", "memory://, inside the one process of `punctual up`")
    scheme = broker.partition("://")[0]
    app = make_celery(settings)
    if scheme.startswith("redis"):
        hasty = {"socket_timeout": 2, "retry_on_timeout": False}
        app.conf.broker_transport_options = {**app.conf.broker_transport_options, **hasty}
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
    except Exception as unreachable:  # every transport has errors of its own
        return Finding(
            "fault",
            "broker",
            f"{scheme} does not answer ({type(unreachable).__name__}); work waits for upkeep to find it",
            "Start the broker, or correct PUNCTUAL_BROKER_URL. Nothing is lost meanwhile.",
        )
    return Finding("ok", "broker", f"{scheme} answers")


def check_provider(settings: Settings, http: httpx.Client, *, now: datetime) -> Iterator[Finding]:
    """Does Recall answer, does it take our key, and what time does it have?"""
    if settings.recall_api_key is None:
        yield Finding(
            "warning",
            "provider",
            "no Recall key is configured: there is nothing to sync",
            "Set PUNCTUAL_RECALL_API_KEY.",
        )
        return
    key = settings.recall_api_key.get_secret_value().strip()
    try:
        answer = http.get(
            f"{settings.recall_url}/api/v2/calendars/", headers={"Authorization": f"Token {key}"}
        )
    except httpx.HTTPError as unreachable:
        yield Finding(
            "fault",
            "provider",
            f"{settings.recall_url} does not answer ({type(unreachable).__name__})",
            "Check the network and PUNCTUAL_RECALL_REGION or PUNCTUAL_RECALL_BASE_URL.",
        )
        return
    match answer.status_code:
        case 200:
            yield Finding("ok", "provider", f"{settings.recall_url} answers and takes our key")
        case 401 | 403:
            yield Finding(
                "fault",
                "provider",
                f"{settings.recall_url} does not take our key ({answer.status_code})",
                "Keys belong to one region: check PUNCTUAL_RECALL_API_KEY and PUNCTUAL_RECALL_REGION.",
            )
        case 429:
            yield Finding(
                "warning", "provider", "answers that we ask too much (429)", "Wait; budgets adapt."
            )
        case other:
            yield Finding(
                "warning",
                "provider",
                f"{settings.recall_url} answers {other}",
                "Look at status.recall.ai.",
            )
    served_at = _date_of(answer)
    if served_at is not None:
        # The header has whole seconds, half a second off on average.
        yield compared("clock", "Recall's", (served_at - now).total_seconds() + 0.5)


def check_webhook_secret(settings: Settings) -> Finding:
    """Can notifications be verified, and by nobody else be made?"""
    secrets = [secret.get_secret_value() for secret in settings.recall_webhook_secrets]
    if not secrets:
        return Finding(
            "fault",
            "webhook secret",
            "none is configured: every notification is answered 503",
            "Copy it from Recall's dashboard into PUNCTUAL_RECALL_WEBHOOK_SECRETS.",
        )
    for secret in secrets:
        key = signing_key(secret)
        if secret in PUBLIC_SECRETS or len(set(key)) < 8:
            return Finding(
                "fault",
                "webhook secret",
                "is one that everybody can know: notifications can be forged",
                "Make a new one in Recall's dashboard.",
            )
        if len(key) < SHORT_SECRET_BYTES:
            return Finding(
                "warning",
                "webhook secret",
                f"has only {len(key)} bytes",
                "Check that it was copied whole.",
            )
    return Finding("ok", "webhook secret", f"{len(secrets)} configured")


def check_silence(tx: Tx, *, now: datetime) -> Finding:
    """Do notifications still arrive? Changes that only our own looks find say that they do not."""
    deliveries, runs = due.table_of(Delivery), due.table_of(SyncRun)
    last: datetime | None = tx.execute(
        select(func.max(deliveries.c.received_at)).where(deliveries.c.state != "quarantined")
    ).scalar_one()
    since = max(last or now - LOOKED_BACK, now - LOOKED_BACK)
    found = tx.execute(
        select(func.count())
        .select_from(runs)
        .where(
            runs.c.scope == "workspace",
            runs.c.changes > 0,
            runs.c.started_at > since,
            runs.c.started_at < now,
            ~exists().where(deliveries.c.run_id == runs.c.id),
        )
    ).scalar_one()
    words = "never" if last is None else f"{worded(now - last)} ago"
    if found and (last is None or now - last > SILENCE):
        return Finding(
            "fault",
            "webhooks",
            f"the last notification came {words}, although our own looks found changes {found} times since",
            "Check the endpoint in Recall's dashboard: its URL, that it is enabled, and the event types.",
        )
    return Finding("ok", "webhooks", f"the last notification came {words}")


def _date_of(answer: httpx.Response) -> datetime | None:
    try:
        served_at = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return None
    return served_at.astimezone(UTC) if served_at.tzinfo else None
