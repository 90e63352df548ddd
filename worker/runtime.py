"""The things a use-case is given: a frozen bag of ports, built by `worker.bootstrap` alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine

from models.sealing import Vault
from worker.ports import Bell, BotProvider, CalendarSource, Poster, Publisher
from worker.ports_direct import AccountCalendars, Authority
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Runtime:
    """
    Everything outside a use-case.

    *recall* and *bots* are None without a Recall key, *publisher* is None when AMQP is off.
    *authorities* and *accounts* are by platform: google, microsoft.
    *now* serves decisions about the calendar; leases and due rows use the database's clock.
    *chance* yields numbers in [0, 1). *sleep* takes seconds.
    """

    settings: Settings
    db: Engine
    vault: Vault
    install_id: UUID
    bell: Bell
    poster: Poster
    now: Callable[[], datetime]
    chance: Callable[[], float]
    recall: CalendarSource | None = None
    bots: BotProvider | None = None
    publisher: Publisher | None = None
    authorities: Mapping[str, Authority] = field(default_factory=dict)
    accounts: Mapping[str, AccountCalendars] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep
