"""`python -m worker.sandbox`: the emulated Recall.ai, Google and Microsoft on loopback."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from starlette.applications import Starlette

from worker.sandbox.google.app import create_google
from worker.sandbox.microsoft.app import create_microsoft
from worker.sandbox.oauth.grants import Client
from worker.sandbox.recall.app import DEFAULT_KEY, create_recall
from worker.sandbox.server import running, serve

#: What our side of an emulated consent is called.
CLIENT_ID, CLIENT_SECRET = "sandbox-client", "sandbox-secret"
#: Somebody to be at the consent pages.
PEOPLE = ("anna@example.com", "ben@example.com")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    asked = _parser().parse_args(arguments)
    base_url = f"http://{asked.host}:{asked.port}"
    app = create_recall(base_url=base_url, api_key=asked.api_key)
    outgoing = app.state.world.workspace().outgoing
    outgoing.configure(
        outgoing.endpoint.with_changes({"url": asked.webhook_url, "secrets": asked.webhook_secret})
    )
    with ExitStack() as beside:
        if asked.google_port is not None:
            beside.enter_context(_google(asked.host, asked.google_port, asked.redirect_uri))
        if asked.microsoft_port is not None:
            beside.enter_context(_microsoft(asked.host, asked.microsoft_port, asked.redirect_uri))
        _say(
            f"Sandbox Recall at {base_url}  API key {asked.api_key}  control {base_url}/_emulator/state"
        )
        serve(asked.host, asked.port, app)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--api-key", default=DEFAULT_KEY)
    parser.add_argument("--webhook-url", help="where webhooks go; may be on this machine")
    parser.add_argument(
        "--webhook-secret", action="append", default=[], help="whsec_…; repeat it to sign with several"
    )
    parser.add_argument("--google-port", type=int, help="serve an emulated Google there too")
    parser.add_argument("--microsoft-port", type=int, help="serve an emulated Microsoft there too")
    parser.add_argument(
        "--redirect-uri", action="append", default=[], help="where consents of both may lead back to"
    )
    return parser


def _google(host: str, port: int, redirect_uris: Sequence[str]) -> AbstractContextManager[str]:
    def create(base_url: str) -> Starlette:
        app = create_google(base_url=base_url)
        world = app.state.world
        world.oauth.add_client(Client(CLIENT_ID, CLIENT_SECRET, tuple(redirect_uris)))
        for email in PEOPLE:
            world.mailbox(world.oauth.add_account(email))
        _say(f"Sandbox Google at {base_url}  control {base_url}/_emulator/state")
        return app

    return running(create, host=host, port=port)


def _microsoft(host: str, port: int, redirect_uris: Sequence[str]) -> AbstractContextManager[str]:
    def create(base_url: str) -> Starlette:
        app = create_microsoft(base_url=base_url)
        world = app.state.world
        world.server.add_client(Client(CLIENT_ID, CLIENT_SECRET, tuple(redirect_uris)))
        for email in PEOPLE:
            world.store.open_mailbox(world.server.add_account(email))
        _say(f"Sandbox Microsoft at {base_url}  control {base_url}/_emulator/state")
        return app

    return running(create, host=host, port=port)


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201  # a command tells where it is


if __name__ == "__main__":
    main()
