"""
Keys that change while everything runs: webhook secret, encryption key, API keys, the broker's password.

Each is changed the way an operator would: first both are accepted, then the new one is used, then the
old one is taken away.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import ExitStack
from os import urandom

import httpx
from svix.webhooks import Webhook

from tests.faults.brokers import RabbitMQ
from tests.faults.fault import Fault, Figure, Ground, Result
from tests.faults.provider_scenes import refusals, start_anew
from tests.faults.provider_sink_faults import heard, told
from tests.faults.stage import Stage, standing
from tests.publishers.sink import a_sink
from tests.system.rig import ENCRYPTION_KEYS, KEY, SECRET, answer, until

NEW_SECRET = "whsec_" + b64encode(b"another secret, as long").decode()


def change_keys(ground: Ground) -> Result:
    """Change every key while notifications come and bots move."""
    figures: dict[str, Figure] = {}
    with ExitStack() as opened:
        broker = None if ground.short else opened.enter_context(RabbitMQ.running())
        stage = opened.enter_context(standing(ground, broker_url=broker.url if broker else "memory://"))
        sink = opened.enter_context(a_sink())
        earlier = told(stage)
        made = answer(stage.rig.api.post("/v1/endpoints", json={"url": sink.url}))
        stage.edit(20)
        stage.come_to_rest()
        change_webhook_secret(stage)
        figures["rejected"] = refusals(stage)["401"]
        stage.demand(figures["rejected"] == 0, f"{figures['rejected']} valid deliveries rejected")
        figures["sealed_rows"] = change_encryption_key(stage)
        change_api_keys(stage)
        if broker is not None:
            change_broker_password(stage, broker)
            figures["broker"] = "changed"
        until(lambda: heard(sink) == told(stage) - earlier, within=30, every=0.3)
        for received in sink.received:
            Webhook(made["secret"]).verify(received.body, dict(received.headers))
        return stage.finish(60, posts_verified=len(sink.received), **figures)


def change_webhook_secret(stage: Stage) -> None:
    """Accept both, let the provider sign with the new one, then accept the new one alone."""
    setting = "PUNCTUAL_RECALL_WEBHOOK_SECRETS"
    with stage.editing(pause_s=0.1):
        start_anew(stage, "serve", **{setting: f"{SECRET},{NEW_SECRET}"})
        answer(stage.rig.emulator.put("/webhook", json={"secrets": [NEW_SECRET, SECRET]}))
        answer(stage.rig.emulator.put("/webhook", json={"secrets": [NEW_SECRET]}))
        # Every attempt is signed when it is made: what comes again bears the new one's signature.
        until(lambda: not on_the_line(stage), within=20, every=0.02)
        start_anew(stage, "serve", **{setting: NEW_SECRET})
    stage.come_to_rest(60)


def on_the_line(stage: Stage) -> int:
    """Count the webhooks that have been sent and not been answered."""
    return int(answer(stage.rig.emulator.get("/state"))["webhooks"]["in_flight"])


def change_encryption_key(stage: Stage) -> int:
    """Make the new key known everywhere, then seal with it; what the old one sealed stays readable."""
    setting, new = "PUNCTUAL_ENCRYPTION_KEYS", b64encode(urandom(32)).decode()
    with stage.editing(pause_s=0.1):
        for keys in (f"{ENCRYPTION_KEYS},{new}", f"{new},{ENCRYPTION_KEYS}"):
            for name in ("serve", "work"):
                start_anew(stage, name, **{setting: keys})
    stage.come_to_rest(60)
    shown = stage.rig.every("/v1/events")
    sealed = [event for event in shown if event["meeting_url"]]
    stage.demand(bool(sealed), "nothing sealed was there to be read")
    return len(sealed)


def change_api_keys(stage: Stage) -> None:
    """Hand over to a made key and revoke it; then give the settings another first key."""
    api = stage.rig.api
    made = answer(api.post("/v1/api-keys", json={"name": "second", "scopes": ["admin"]}))
    second = {"Authorization": f"Bearer {made['key']}"}
    stage.demand(api.get("/v1/events", headers=second).is_success, "a new key is not accepted")
    new = "pk_" + "n" * 40
    stage.rig.environment["PUNCTUAL_ADMIN_API_KEY"] = new
    stage.rig.start_and_read("migrate")  # as the runbook says: it makes the one valid, the other not
    start_anew(stage, "serve")
    old_status = api.get("/v1/events", headers={"Authorization": f"Bearer {KEY}"}).status_code
    stage.demand(old_status == httpx.codes.UNAUTHORIZED, f"the old first key gets {old_status}")
    stage.demand(api.get("/v1/events", headers=second).is_success, "another key died with it")
    api.headers["Authorization"] = f"Bearer {new}"
    answer(api.delete(f"/v1/api-keys/{made['id']}"))
    revoked = api.get("/v1/events", headers=second).status_code
    stage.demand(revoked == httpx.codes.UNAUTHORIZED, f"a revoked key gets {revoked}")


def change_broker_password(stage: Stage, broker: RabbitMQ) -> None:
    """Change the password under running processes, and tell them one after the other."""
    with stage.editing(pause_s=0.1):
        broker.control("change_password", "guest", "other")
        url = broker.url.replace("guest:guest", "guest:other")
        for name in ("serve", "work"):
            start_anew(stage, name, PUNCTUAL_BROKER_URL=url)
    stage.come_to_rest(60)


FAULTS = [
    Fault(
        "F58",
        "webhook secret, encryption key, API keys and the broker's password change while everything runs",
        "no valid delivery rejected, what was sealed stays readable, revoked keys are dead",
        change_keys,
        needs=("rabbitmq-server",),
    ),
]
