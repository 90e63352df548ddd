"""`punctual serve` as a process of its own on a real database, and how that database looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from models.tables.base import Base
from tests.badinput.line import Answer, Heard, exchange
from tests.system.rig import free_port
from tests.webhooks.sending import SECRET

ADMIN_KEY = "pk_" + "badinputadminkey" * 2


@dataclass
class Served:
    """A server, its process, and the log it writes."""

    base_url: str
    log: Path
    process: subprocess.Popen[bytes]
    _read: int = field(default=0)

    def hear(self, raw: bytes, **how: Any) -> Heard:
        """Send bytes as they are and return what comes back."""
        return exchange(self.base_url, raw, **how)

    def ask(self, raw: bytes, **how: Any) -> Answer:
        """Send a request and return its one answer."""
        (answer,) = self.hear(raw, **how).answers
        return answer

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the log's lines since the last look; every one has to be one JSON object."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            said = log.read()
        whole = said[: said.rfind(b"\n") + 1]
        self._read += len(whole)
        lines = [json.loads(line) for line in whole.splitlines()]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    def resident_kib(self) -> int:
        """Return how much memory the process has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@contextmanager
def a_server(
    folder: Path, database_url: str, *, name: str = "serve", **settings: str
) -> Iterator[Served]:
    """Run a receiver and API until the block ends; *settings* are names without `PUNCTUAL_`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PUNCTUAL_")},
        "PUNCTUAL_DATA_DIR": str(folder),
        "PUNCTUAL_DATABASE_URL": database_url,
        "PUNCTUAL_BROKER_URL": "memory://",
        "PUNCTUAL_HTTP_PORT": str(port),
        "PUNCTUAL_ENCRYPTION_KEYS": b64encode(b"e" * 32).decode(),
        "PUNCTUAL_ADMIN_API_KEY": ADMIN_KEY,
        "PUNCTUAL_RECALL_WEBHOOK_SECRETS": SECRET,
        "PUNCTUAL_LOG_FORMAT": "json",
        **{f"PUNCTUAL_{key}": value for key, value in settings.items()},
    }
    path = folder / f"{name}.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "serve", "--in-tree"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    served = Served(f"http://127.0.0.1:{port}", path, process)
    try:
        _await(served)
        served.new_lines()
        yield served
    finally:
        process.terminate()
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(served: Served) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            if (
                served.hear(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status
                == 200
            ):
                return
        except OSError:
            pass
        assert served.process.poll() is None, served.log.read_text()
        assert time.monotonic() < until, served.log.read_text()
        time.sleep(0.05)


#: One line per table that holds rows: how many, and what all of them together look like.
_FINGERPRINT = " UNION ALL ".join(
    f"SELECT '{table.name}' AS name, md5(string_agg(md5(row::text), '' ORDER BY md5(row::text))) AS looks"
    f' FROM "{table.name}" AS row HAVING count(*) > 0'
    for table in Base.metadata.sorted_tables
)
#: A key's last use is noted with every request that shows it, which is no change of state.
_KEYS_AT_REST = "UPDATE api_keys SET last_used_at = now() + interval '1 hour'"


def keep_keys_at_rest(engine: Engine) -> None:
    """Have the use of keys noted for an hour to come, so that it changes nothing meanwhile."""
    with engine.begin() as tx:
        tx.execute(text(_KEYS_AT_REST))


def state_of(engine: Engine) -> dict[str, str]:
    """Return how each table that is not empty looks, to be compared with how it looked before."""
    with engine.begin() as tx:
        return {str(name): str(looks) for name, looks in tx.execute(text(_FINGERPRINT))}
