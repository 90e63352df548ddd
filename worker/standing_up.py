"""`punctual up`: from nothing to a running service in one process tree."""

from __future__ import annotations

import secrets
import shutil
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import structlog
from rich.console import Console
from rich.table import Table
from sqlalchemy.engine import make_url

from worker.bootstrap import embedded_database, kept_secret, new_api_key, prepare
from worker.processes import Child, ProcessTree
from worker.settings import Settings

log = structlog.get_logger(__name__)

SANDBOX_KEY = "sandbox-key"
#: As `worker.sandbox` registers them.
CLIENT_ID, CLIENT_SECRET = "sandbox-client", "sandbox-secret"
SANDBOX_HOST = "127.0.0.1"


def stand_up(settings: Settings, *, sandbox: bool | None = None, sandbox_port: int = 8090) -> int:
    """
    Run receiver, worker and upkeep until told to stop; the exit code is returned.

    Brings its own database unless one is named, and the sandbox provider unless there is a Recall
    key (or *sandbox* says otherwise).
    """
    is_sandboxed = settings.recall_api_key is None if sandbox is None else sandbox
    with ExitStack() as stack:
        environment = stack.enter_context(environment_for_tree(settings))
        children = [
            Child("receiver", ["serve", "--in-tree"], environment),
            Child("worker", ["work", "--in-tree"], environment),
        ]
        if is_sandboxed:
            environment |= _sandbox_environment(settings, sandbox_port)
            children.insert(0, _sandbox(settings, sandbox_port, environment))
        _say_where(settings, sandbox_port if is_sandboxed else None)
        return ProcessTree(children).run()


@contextmanager
def environment_for_tree(settings: Settings) -> Iterator[dict[str, str]]:
    """
    Yield what the processes of a tree have to know on top of our own environment.

    The database is running, migrated and holds the first API key while this is open. Generated
    secrets are kept in the data directory, readable by us alone.
    """
    data_dir = settings.data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        environment: dict[str, str] = {}
        if settings.database_url is None:
            environment["PUNCTUAL_DATABASE_URL"] = stack.enter_context(embedded_database(data_dir))
        if settings.encryption_keys is None:
            environment["PUNCTUAL_ENCRYPTION_KEYS"], _ = kept_secret(data_dir / "encryption.key")
        if settings.admin_api_key is None:
            key, is_new = kept_secret(data_dir / "admin.key", new_api_key)
            environment["PUNCTUAL_ADMIN_API_KEY"] = key
            if is_new:
                click.echo(f"Your first API key (shown once, kept in {data_dir / 'admin.key'}): {key}")
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(emptied(data_dir / "metrics"))
        prepare(_with(settings, environment))
        yield environment


def _with(settings: Settings, environment: dict[str, str]) -> Settings:
    values = {
        name.removeprefix("PUNCTUAL_").lower(): value
        for name, value in environment.items()
        if name.startswith("PUNCTUAL_")
    }
    return Settings.model_validate({**settings.model_dump(), **values})


def emptied(folder: Path) -> Path:
    """Make a folder, or make it anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _sandbox_environment(settings: Settings, port: int) -> dict[str, str]:
    configured = settings.recall_webhook_secrets
    secret = (
        configured[0].get_secret_value()
        if configured
        else "whsec_" + b64encode(secrets.token_bytes(24)).decode()
    )
    return {
        "PUNCTUAL_RECALL_API_KEY": SANDBOX_KEY,
        "PUNCTUAL_RECALL_BASE_URL": f"http://{SANDBOX_HOST}:{port}",
        "PUNCTUAL_RECALL_WEBHOOK_SECRETS": secret,
        **({} if settings.google_client_id else sandboxed_google(port + 1)),
        **({} if settings.microsoft_client_id else sandboxed_microsoft(port + 2)),
    }


def sandboxed_google(port: int) -> dict[str, str]:
    """Say in settings that Google is emulated on this machine."""
    url = f"http://{SANDBOX_HOST}:{port}"
    return {
        "PUNCTUAL_GOOGLE_CLIENT_ID": CLIENT_ID,
        "PUNCTUAL_GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        "PUNCTUAL_GOOGLE_ACCOUNTS_URL": url,
        "PUNCTUAL_GOOGLE_OAUTH_URL": url,
        "PUNCTUAL_GOOGLE_API_URL": url,
    }


def sandboxed_microsoft(port: int) -> dict[str, str]:
    """Say in settings that Microsoft is emulated on this machine."""
    url = f"http://{SANDBOX_HOST}:{port}"
    return {
        "PUNCTUAL_MICROSOFT_CLIENT_ID": CLIENT_ID,
        "PUNCTUAL_MICROSOFT_CLIENT_SECRET": CLIENT_SECRET,
        "PUNCTUAL_MICROSOFT_LOGIN_URL": url,
        "PUNCTUAL_MICROSOFT_GRAPH_URL": url,
    }


def _sandbox(settings: Settings, port: int, environment: dict[str, str]) -> Child:
    host = "127.0.0.1" if settings.http_host in {"0.0.0.0", "::"} else settings.http_host  # noqa: S104  # compared, not bound
    return Child(
        "sandbox",
        [
            "sandbox",
            "--port",
            str(port),
            *([] if settings.google_client_id else ["--google-port", str(port + 1)]),
            *([] if settings.microsoft_client_id else ["--microsoft-port", str(port + 2)]),
            *("--redirect-uri", f"{settings.base_url}/oauth/google/callback"),
            *("--redirect-uri", f"{settings.base_url}/oauth/microsoft/callback"),
            "--webhook-url",
            f"http://{host}:{settings.http_port}/webhooks/recall",
        ],
        {"PUNCTUAL_SANDBOX_WEBHOOK_SECRET": environment["PUNCTUAL_RECALL_WEBHOOK_SECRETS"]},
    )


def _say_where(settings: Settings, sandbox_port: int | None) -> None:
    base = settings.base_url
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("API and its documentation", f"{base}/docs")
    table.add_row("Notifications go to", f"{base}/webhooks/recall")
    table.add_row("Bots", f"{base}/v1/bots  (Authorization: Bearer KEY)")
    table.add_row("Domain events", f"{base}/v1/feed")
    table.add_row("Health, metrics", f"{base}/readyz  {base}/metrics")
    table.add_row("Database", _database_name(settings))
    if sandbox_port is not None:
        table.add_row(
            "No Recall key: sandbox provider",
            f"http://{SANDBOX_HOST}:{sandbox_port}/_emulator/state",
        )
        table.add_row(
            "Live bots there", f"http://{SANDBOX_HOST}:{sandbox_port}/_emulator/bots?live=true"
        )
        if settings.google_client_id is None:
            emulated = f"http://{SANDBOX_HOST}:{sandbox_port + 1}/_emulator/state"
            table.add_row("No Google client: sandbox Google", emulated)
        if settings.microsoft_client_id is None:
            emulated = f"http://{SANDBOX_HOST}:{sandbox_port + 2}/_emulator/state"
            table.add_row("No Microsoft client: sandbox Microsoft", emulated)
    console = Console()
    console.print("[bold]Punctual is starting[/bold]; stop it with Ctrl-C.")
    console.print(table)


def _database_name(settings: Settings) -> str:
    if settings.database_url is None:
        return f"embedded PostgreSQL in {settings.data_dir}"
    url = make_url(settings.database_url.get_secret_value())
    return f"{url.host or 'socket'}/{url.database}"
