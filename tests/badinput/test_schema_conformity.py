"""The served OpenAPI document against the server that serves it: schemathesis asks, the document judges."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine

from tests.badinput.seeded import Seeded, connect_somebody, seed
from tests.badinput.served import ADMIN_KEY, Served, a_server
from tests.system.rig import SANDBOX_KEY, free_port
from webhooks.api.table import OPERATIONS

pytestmark = pytest.mark.xdist_group("badinput")

#: For each operation and each of the two ways, described and not.
EXAMPLES = int(os.environ.get("PUNCTUAL_TEST_SCHEMA_EXAMPLES", "10"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Of so many requests one is about an id that nobody has.
UNKNOWN_ID_EVERY = 4
#: What is asked of the provider, who does not accept our token any more.
ASKED_OF_PROVIDERS = {"/v1/connections/{id}/calendars"}
#: What the server refuses before any operation sees it; the document says so for all of them at once.
BEFORE_ANY_OPERATION = {
    400: "bad_request",
    408: "request_timeout",
    414: "request_uri_too_long",
    431: "request_header_fields_too_large",
}


@dataclass(frozen=True)
class World:
    """A server with something of every kind in it, and what it says of itself."""

    server: Served
    seeded: Seeded
    schema: BaseSchema
    session: requests.Session

    def ids(self, path: str) -> list[str]:
        """List what the operations below *path* can be about."""
        listed = self.session.get(
            f"{self.server.base_url}{path.partition('/{id}')[0]}?limit=200"
        ).json()
        return [str(one["id"]) for one in listed["data"]]


@pytest.fixture(scope="module")
def emulator_url() -> Iterator[str]:
    """Recall's emulator, so that calendars can be connected."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "sandbox", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                httpx.get(f"{url}/_emulator/state", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, clean: Engine, emulator_url: str
) -> Iterator[World]:
    seeded = seed(clean, endpoint_url=f"{emulator_url}/hook")
    connect_somebody(seeded)
    folder = tmp_path_factory.mktemp("conformity")
    provider = {
        "RECALL_API_KEY": SANDBOX_KEY,
        **dict.fromkeys(
            ("RECALL_BASE_URL", "GOOGLE_ACCOUNTS_URL", "GOOGLE_OAUTH_URL", "GOOGLE_API_URL"),
            emulator_url,
        ),
    }
    with (
        a_server(folder, database_url, ALLOW_PRIVATE_ENDPOINTS="true", **provider) as server,
        requests.Session() as session,
    ):
        session.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        session.trust_env = False
        schema = schemathesis.openapi.from_url(f"{server.base_url}/openapi.json")
        yield World(server, seeded, schema, session)


@pytest.mark.parametrize(
    ("method", "path"),
    # What takes something away comes last, so that there is something to ask about.
    [
        (operation.method, operation.path)
        for operation in sorted(OPERATIONS, key=lambda operation: operation.method == "DELETE")
    ],
    ids=lambda part: part,
)
def test_every_answer_is_one_the_document_promises(world: World, method: str, path: str) -> None:
    operation = world.schema[path][method]
    known = world.ids(path) if "{id}" in path else []
    statuses: set[int] = set()
    numbers = itertools.count(1)

    def ask(case: schemathesis.Case[Any]) -> None:
        number = next(numbers)
        if known and number % UNKNOWN_ID_EVERY:
            case.path_parameters["id"] = known[number % len(known)]
        answer = case.call(session=world.session, timeout=10)
        statuses.add(answer.status_code)
        if BEFORE_ANY_OPERATION.get(answer.status_code) != _code(answer):
            case.validate_response(answer, checks=CHECKS)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except schemathesis.errors.InvalidSchema:
            continue  # nothing about it can be said wrong
        settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=strategy)(ask))()

    assert method != "GET" or 200 in statuses or path in ASKED_OF_PROVIDERS
    errors = [line for line in world.server.new_lines() if line["level"] in {"error", "critical"}]
    assert errors == []


def _code(answer: schemathesis.Response) -> str | None:
    is_problem = answer.headers.get("content-type", [""])[0] == "application/problem+json"
    return str(answer.json()["code"]) if is_problem else None


def test_the_document_names_every_operation_there_is(world: World) -> None:
    named = {
        (method.upper(), path)
        for path, methods in world.schema.raw_schema["paths"].items()
        for method in methods
    }

    assert named == {(op.method, op.path) for op in OPERATIONS}
