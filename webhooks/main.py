"""`punctual serve`: settings in, HTTP out, until told to stop."""

from __future__ import annotations

import structlog

from webhooks.app import App, create_app
from webhooks.arrivals import Inbox
from webhooks.server import serve
from worker import failpoints
from worker.bootstrap import Built, build
from worker.settings import Settings, load_settings

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Receive notifications and serve the API until SIGTERM or SIGINT."""
    built = _build(settings)
    try:
        if not settings.recall_webhook_secrets:
            log.error("no_webhook_secret", setting="PUNCTUAL_RECALL_WEBHOOK_SECRETS")
        log.info("http_started", host=settings.http_host, port=settings.http_port)
        serve(create_app(built.runtime), host=settings.http_host, port=settings.http_port)
        log.info("http_stopped")
    finally:
        built.close()


def app() -> App:
    """Build the application from the environment, for `uvicorn --factory webhooks.main:app`."""
    return create_app(_build(load_settings(may_embed=False)).runtime)


def _build(settings: Settings) -> Built:
    failpoints.watch(Inbox, "store", "receiver.store")
    return build(settings)
