"""What a downstream service of its own has received, over AMQP and over HTTP, read back from its ledgers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.system.rig import Rig, answer, free_port, until


def start_consumer(rig: Rig, amqp_url: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a downstream service that writes what reaches it into ledgers in *folder*."""
    port, secret = free_port(), folder / "secret"
    made = answer(rig.api.post("/v1/endpoints", json={"url": f"http://127.0.0.1:{port}/in"}))
    secret.write_text(made["secret"])
    exchange = rig.environment["PUNCTUAL_EVENTS_EXCHANGE"]
    arguments = [amqp_url, exchange, f"{exchange}.ledger", str(port), str(folder), str(secret)]
    root = Path(__file__).parent.parent.parent
    consumer = subprocess.Popen([sys.executable, "-m", "tests.system.consumer", *arguments], cwd=root)
    until(lambda: consumer.poll() is None and _listens(port))
    return consumer


def ledger(path: Path) -> list[dict[str, Any]]:
    """Read a ledger without repeats: the first arrival of each id."""
    seen: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        seen.setdefault(entry["id"], entry)
    return list(seen.values())


def by_subject(entries: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Return the sequence numbers of each subject, in the order of arrival."""
    sequences: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        sequences[entry["subject"]].append(int(entry["sequence"]))
    return sequences


def ledgers_agree(rig: Rig, folder: Path) -> bool:
    """Say whether the feed and both ledgers know the same domain events."""
    feed = {event["id"] for event in rig.feed()}
    amqp = {entry["id"] for entry in ledger(folder / "amqp.ledger")}
    http = {entry["id"] for entry in ledger(folder / "http.ledger")}
    return feed == amqp == http


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
