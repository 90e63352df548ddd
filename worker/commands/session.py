"""
What every verb stands on: the settings with a database behind them, the ports, and one line per failure.

Imports nothing heavy before a verb runs, so that `punctual --help` is quick.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

import click

from worker.errors import ConfigError, Reaction
from worker.logs import set_up_logs
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from worker.runtime import Runtime

#: `punctual up` starts the sandbox here when there is no Recall key.
SANDBOX = ("127.0.0.1", 8090)
SANDBOX_URL = "http://127.0.0.1:8090"
SANDBOX_ANSWERS_WITHIN_S = 0.3


class Failed(click.ClickException):
    """What the user asked for did not happen; says why in one line, exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"punctual: {self.format_message()}", file=file, err=True)


@contextmanager
def open_runtime() -> Iterator[Runtime]:
    """Yield the ports of the installation for the length of one verb."""
    from worker.bootstrap import build

    with open_settings() as settings, one_line_per_failure():
        built = build(settings, pool_size=2)
        try:
            yield built.runtime
        finally:
            built.close()


@contextmanager
def open_settings() -> Iterator[Settings]:
    """
    Yield the settings with the name of a running database and its keys in them.

    The embedded database is shared with a running `punctual up`, else started for this long.
    """
    set_up_logs(None, level=logging.WARNING)
    settings = load_settings()
    with stopping_in_order():
        if settings.database_url is not None:
            yield settings
            return
        from worker.bootstrap import embedded_database

        data_dir = settings.data_dir.resolve()
        if not (data_dir / "postgres" / "PG_VERSION").exists():
            msg = (
                f"there is no database in {data_dir} yet: run `punctual up` first,"
                " or set PUNCTUAL_DATABASE_URL"
            )
            raise ConfigError(msg)
        with embedded_database(data_dir) as url:
            yield settings.model_copy(update=beside_up(settings, data_dir, url))


def beside_up(settings: Settings, data_dir: Path, database_url: str) -> dict[str, Any]:
    """Return the settings that `punctual up` has worked out for itself."""
    from pydantic import SecretStr

    known: dict[str, Any] = {"database_url": SecretStr(database_url)}
    for name, file in (("encryption_keys", "encryption.key"), ("admin_api_key", "admin.key")):
        path = data_dir / file
        if getattr(settings, name) is None and path.exists():
            known[name] = SecretStr(path.read_text().strip())
    if settings.recall_api_key is None and _listens(*SANDBOX):
        from worker.standing_up import SANDBOX_KEY

        known["recall_api_key"] = SecretStr(SANDBOX_KEY)
        known["recall_base_url"] = SANDBOX_URL
        known |= _emulated_platforms(settings)
    return known


def _emulated_platforms(settings: Settings) -> dict[str, Any]:
    """Return the settings of the platforms that the sandbox emulates because no client was named."""
    from pydantic import SecretStr

    from worker.standing_up import sandboxed_google, sandboxed_microsoft

    host, port = SANDBOX
    said: dict[str, str] = {}
    if settings.google_client_id is None and _listens(host, port + 1):
        said |= sandboxed_google(port + 1)
    if settings.microsoft_client_id is None and _listens(host, port + 2):
        said |= sandboxed_microsoft(port + 2)
    known = {name.removeprefix("PUNCTUAL_").lower(): value for name, value in said.items()}
    return {
        name: SecretStr(value) if name.endswith("_secret") else value for name, value in known.items()
    }


def is_sandbox(settings: Settings) -> bool:
    """Say whether the settings mean the sandbox that `punctual up` has started."""
    return settings.recall_base_url == SANDBOX_URL


@contextmanager
def one_line_per_failure() -> Iterator[None]:
    """Turn what can be expected to go wrong into one clear line and exit code 1."""
    from sqlalchemy.exc import OperationalError, ProgrammingError
    from sqlalchemy.exc import TimeoutError as NoConnection

    from models.domain.rules import InvalidRules
    from models.sealing import CannotOpen

    try:
        yield
    except InvalidRules as invalid:
        raise Failed("\npunctual: ".join(invalid.faults)) from invalid
    except Reaction as reaction:
        raise Failed(str(reaction)) from reaction
    except CannotOpen as sealed:
        raise Failed(f"{sealed}; PUNCTUAL_ENCRYPTION_KEYS lacks a key") from sealed
    except ProgrammingError as misfit:
        raise Failed("the database's schema does not fit: run `punctual migrate`") from misfit
    except (OperationalError, NoConnection) as unreachable:
        words = str(getattr(unreachable, "orig", unreachable)).strip().splitlines()
        raise Failed(f"the database cannot be reached: {words[0] if words else '?'}") from unreachable


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """Have SIGTERM end the verb like Ctrl-C does, so that everything that was opened is let go of."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def id_of(text: str, what: str) -> UUID:
    """Read one of our ids; a clear failure when it cannot be one."""
    try:
        return UUID(text)
    except ValueError:
        raise Failed(f"{text!r} is no {what} id") from None


def unknown(what: str, name: str) -> Failed:
    """Say that there is no such thing."""
    return Failed(f"there is no {what} {name}")


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=SANDBOX_ANSWERS_WITHIN_S):
            return True
    except OSError:
        return False
