"""`python -m worker.sandbox`: the emulated Recall.ai on loopback."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from worker.sandbox.recall.app import DEFAULT_KEY, create_recall
from worker.sandbox.server import serve


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--api-key", default=DEFAULT_KEY)
    parser.add_argument("--webhook-url", help="where webhooks go; may be on this machine")
    parser.add_argument(
        "--webhook-secret", action="append", default=[], help="whsec_…; repeat it to sign with several"
    )
    asked = parser.parse_args(arguments)
    base_url = f"http://{asked.host}:{asked.port}"
    app = create_recall(base_url=base_url, api_key=asked.api_key)
    outgoing = app.state.world.workspace().outgoing
    outgoing.configure(
        outgoing.endpoint.with_changes({"url": asked.webhook_url, "secrets": asked.webhook_secret})
    )
    print(  # noqa: T201  # a command tells where it is
        f"Sandbox Recall at {base_url}  API key {asked.api_key}  control {base_url}/_emulator/state",
        flush=True,
    )
    serve(asked.host, asked.port, app)


if __name__ == "__main__":
    main()
