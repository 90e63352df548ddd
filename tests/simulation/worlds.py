"""What kind of world a seed has: the operator's settings, the provider's ways, and the ports of a worker."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, cast
from uuid import UUID

import httpx
from sqlalchemy import Engine

from models.sealing import Vault
from tests.simulation.ports import SimulatedEngine
from worker.bootstrap import _email_of
from worker.budgets import SharedBudgets
from worker.providers.recall import ManagedBots, RecallClient, RecallSource, SelfManagedBots
from worker.runtime import Runtime
from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.limits import Limits
from worker.sandbox.recall.outgoing import Endpoint as WebhookEndpoint
from worker.sandbox.recall.store import Workspace
from worker.sandbox.recall.switches import Switches
from worker.settings import Settings

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

HOOKS = "https://punctual.example/webhooks/recall"


def some_settings(chance: random.Random) -> Settings:
    """Choose how bots are managed."""
    return Settings(
        _env_file=None,
        bot_mode=chance.choice(("recall_managed", "recall_self_managed")),
        events_url="amqp://nowhere",
        recall_api_key="key",
        recall_base_url="https://recall.example",
    )


def a_workspace(chance: random.Random, clock: Clock, seed: int) -> Workspace:
    """Make a provider with ways of its own."""
    ws = Workspace("key", "https://recall.example", clock)
    ws.random = random.Random(f"provider of {seed}")
    ws.outgoing.configure(WebhookEndpoint(url=HOOKS))
    ws.switches = some_switches(chance)
    ws.limits = Limits(
        page_size=chance.choice((2, 5, 100)),
        bots_page_size=chance.choice((2, 100)),
        pool_size=chance.choice((1, 3, 100)),
    )
    return ws


def a_runtime(sim: Simulation, install_id: UUID, http: httpx.Client) -> Runtime:
    """Put the real use-cases and adapters on simulated ports."""
    db = cast("Engine", SimulatedEngine(sim, sim.database.engine))
    settings = sim.settings
    allowance = SharedBudgets(
        db,
        {
            "recall.list": settings.recall_list_per_minute,
            "recall.schedule": settings.recall_schedule_per_minute,
            "recall.create": settings.recall_bot_create_per_minute,
            "recall.other": settings.recall_other_per_minute,
        },
        sleep=sim.wait,
    )
    client = RecallClient(base_url=settings.recall_url, api_key="key", http=http, allowance=allowance)
    is_managed = settings.bot_mode == "recall_managed"
    return Runtime(
        settings=settings,
        db=db,
        vault=Vault([b"k" * 32]),
        install_id=install_id,
        bell=sim.bell,
        poster=sim.poster,
        now=sim.now,
        chance=lambda: sim.decisions.value("chance"),
        recall=RecallSource(client, email_of=lambda ref: _email_of(db, ref)),
        bots=(ManagedBots if is_managed else SelfManagedBots)(client, now=sim.now),
        publisher=sim.publisher,
        sleep=sim.wait,
    )


def some_switches(chance: random.Random) -> Switches:
    """Answer the provider's open questions at random; the invariants hold under every answer."""

    def coin() -> bool:
        return chance.random() < 0.3

    return Switches(
        schedule_bumps_updated_at=coin(),
        schedule_sends_sync_events=coin(),
        auto_reschedule=coin(),
        adopt_stable_keys=not coin(),
        shared_bot_config_last_writer_wins=not coin(),
        unschedule_on_deleted_event_refused=coin(),
        unschedule_forgets_dispatched=coin(),
        bot_ref_start_is_join_at=not coin(),
        past_join_at_refused=coin(),
        scheduled_bot_has_ready_status=coin(),
        legacy_bot_webhooks=coin(),
        bot_list_lag_s=chance.choice((0.0, 0.0, 5.0, 40.0)),
        delete_on_managed_bot=chance.choice(("detaches", "refused", "leaves_reference")),
        bots_order=chance.choice(("created_at", "-created_at", "join_at")),
        reconnect_touches_all=coin(),
        status_changes_newest_first=coin(),
        events_order=chance.choice(("start_time", "-start_time", "updated_at", "-updated_at")),
        cancelled_maps_to_is_deleted=not coin(),
        roll_in_bumps_updated_at=not coin(),
        roll_in_sends_webhook=not coin(),
        sync_debounce_ms=chance.choice((0, 0, 3000)),
        late_commit_ms=chance.choice((0, 0, 300, 1500)),
        timestamps_with_z=not coin(),
    )
