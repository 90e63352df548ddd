"""A whole story with things going wrong in it; afterwards nothing secret is anywhere it should not be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from kombu import Connection, Exchange, Queue
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from tests.badinput.canaries import (
    PLAIN_TABLES,
    Canaries,
    found_by_place,
    planted,
    tables_with,
)
from tests.publishers.sink import Received, Reply, Sink, a_sink
from tests.system.rig import Rig, answer, free_port, running, until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(600)]

AMQP_URL = os.environ.get("PUNCTUAL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
EXCHANGE = f"punctual.canaries.{os.getpid()}"
VIEWS = ("/metrics", "/healthz", "/readyz", "/docs", "/openapi.json", "/asyncapi.json", "/")
COMMANDS = (("events", "list"), ("endpoints", "list"), ("doctor",))


@dataclass
class Story:
    """What was said to whom, for the canaries to be looked for."""

    rig: Rig
    canaries: Canaries
    sink: Sink
    refusals: list[str] = field(default_factory=list)
    amqp: list[bytes] = field(default_factory=list)
    feed: list[str] = field(default_factory=list)
    shown: dict[str, list[str]] = field(default_factory=dict)
    broker: Path = Path()

    def refused(self, response: httpx.Response) -> None:
        """Keep a refusal's body and headers."""
        assert response.status_code >= 400, response.text
        self.refusals.append(response.text + str(response.headers))


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine
) -> Iterator[Story]:
    from tests.conftest import empty_tables

    empty_tables(engine)
    canaries = planted()
    secrets = canaries.secrets
    folder = tmp_path_factory.mktemp("canaries")
    with a_broker(folder, secrets["password of the broker"]) as broker_url, a_sink(echo) as sink:
        url = make_url(database_url).set(password=secrets["password of the database"])
        settings = {
            "PUNCTUAL_ADMIN_API_KEY": secrets["admin API key"],
            "PUNCTUAL_RECALL_WEBHOOK_SECRETS": ",".join(
                (secrets["webhook secret"], secrets["webhook secret, older"])
            ),
            "PUNCTUAL_SANDBOX_WEBHOOK_SECRET": secrets["webhook secret"],
            "PUNCTUAL_ENCRYPTION_KEYS": secrets["encryption key"],
            "PUNCTUAL_EVENTS_URL": AMQP_URL if is_reachable(AMQP_URL) else "",
            "PUNCTUAL_EVENTS_EXCHANGE": EXCHANGE,
        }
        with (
            running(
                folder,
                url.render_as_string(hide_password=False),
                broker_url=broker_url,
                settings=settings,
            ) as rig,
            listening(settings["PUNCTUAL_EVENTS_URL"]) as published,
        ):
            rig.api.headers["Authorization"] = f"Bearer {secrets['admin API key']}"
            told = Story(rig, canaries, sink, amqp=published, broker=folder / "broker.log")
            tell(told, engine)
            yield told


def tell(story: Story, engine: Engine) -> None:
    """Connect, schedule, fail in every way there is, recover, and look at everything."""
    rig, secrets, people = story.rig, story.canaries.secrets, story.canaries.people
    # From here on one more worker writes for a terminal.
    rig.environment["PUNCTUAL_LOG_FORMAT"] = "console"
    in_tree = ["--in-tree"] if rig.environment["PUNCTUAL_BROKER_URL"].startswith("memory") else []
    rig.start("work-console", "work", *in_tree)
    until((rig.logs / "work-console.log").read_text, within=90)
    rig.rules()
    subscribe(story)
    calendar = connect(story)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    link = f"https://zoom.us/j/81234567890?pwd={secrets['passcode of a meeting']}"
    spec: dict[str, Any] = {
        "title": people["title"],
        "start": start.isoformat(),
        "end": (start + timedelta(hours=1)).isoformat(),
        "link": link,
        "attendees": [{"email": people["e-mail of a guest"]}],
    }
    event = answer(rig.emulator.post(f"/calendars/{calendar}/events", json=spec))["id"]
    until(rig.live_bots, within=40)
    say_wrong_things(story)
    have_the_provider_echo(story, event, start)
    have_the_database_refuse(story, engine, event, people["title"])
    until(lambda: len(story.sink.received) >= 3, within=20)
    look_around(story)


def subscribe(story: Story) -> None:
    url = f"{story.sink.url}?token={story.canaries.secrets['token of a subscriber']}"
    made = answer(story.rig.api.post("/v1/endpoints", json={"url": url}))
    story.canaries.secrets["secret of a subscriber"] = made["secret"]
    key = answer(story.rig.api.post("/v1/api-keys", json={"name": "ci", "scopes": ["read"]}))["key"]
    story.canaries.secrets["API key"] = key


def connect(story: Story) -> str:
    """Connect an account, twice under one Idempotency-Key; Recall's id for it is returned."""
    secrets = story.canaries.secrets
    wanted = {
        "source": "recall",
        "platform": "google_calendar",
        "oauth_client_id": "client",
        "oauth_client_secret": secrets["OAuth client secret"],
        "oauth_refresh_token": secrets["OAuth refresh token"],
        "email": "anna@example.com",
    }
    made = [
        answer(story.rig.api.post("/v1/calendars", json=wanted, headers={"Idempotency-Key": "connect"}))
        for _ in range(2)
    ]
    assert made[0]["id"] == made[1]["id"]
    until(lambda: story.rig.every("/v1/calendars")[0]["last_synced_at"], within=40)
    return str(made[0]["external_id"])


def say_wrong_things(story: Story) -> None:
    """Put every secret where it does not belong, and be refused."""
    api, secrets = story.rig.api, story.canaries.secrets
    for name, value in (story.canaries.secrets | story.canaries.people).items():
        story.refused(api.post("/v1/calendars", json={"source": "recall", "external_id": [value]}))
        story.refused(api.post("/v1/calendars", json={"source": "recall", "owner": [value], name: 1}))
        story.refused(api.put("/v1/rules", json={"select": [value], "title_contains": [value + "\n"]}))
        story.refused(api.get("/v1/calendars", params={"cursor": value, "status": value}))
        story.refused(api.get(f"/v1/events/{value.replace('/', '')}"))
        story.refused(
            api.post("/v1/endpoints", json={"url": f"ftp://{value.replace('/', '')}.example/"})
        )
        story.refused(api.get("/v1/bots", headers={"Authorization": f"Bearer x{value[:60]}"}))
        body = {"event": "calendar.update", "data": {"calendar_id": value}}
        story.refused(api.post("/webhooks/recall", json=body, headers={"svix-signature": value}))
    wanted = {"source": "recall", "platform": "google_calendar", "oauth_client_id": "x"}
    for spoiled in ({"a": 1}, None, 7):
        tokens = {
            "oauth_client_secret": secrets["OAuth client secret"],
            "oauth_refresh_token": spoiled or secrets["OAuth refresh token"] * 100,
        }
        story.refused(api.post("/v1/calendars", json={**wanted, **tokens}))


def have_the_provider_echo(story: Story, event: str, start: datetime) -> None:
    """Let Recall answer with what it was told, in every class of errors, then make a change get through."""
    rig = story.rig
    echo_all = {
        "code": "server_error",
        "detail": " ".join((story.canaries.secrets | story.canaries.people).values()),
        "oauth_refresh_token": [story.canaries.secrets["OAuth refresh token"]],
    }
    for status in (500, 400, 401, 409, 429, 302):
        answer(
            rig.emulator.post(
                "/faults",
                json={
                    "kind": "status",
                    "path": "^/api/",
                    "status": status,
                    "times": 2,
                    "body": echo_all,
                    "headers": {"location": f"http://127.0.0.1:9/?{echo_all['detail'][:40]}"},
                },
            )
        )
        wanted = {
            "source": "recall",
            "platform": "google_calendar",
            "oauth_client_id": "client",
            "oauth_client_secret": story.canaries.secrets["OAuth client secret"],
            "oauth_refresh_token": story.canaries.secrets["OAuth refresh token"] + str(status),
            "email": f"other-{status}@example.com",
        }
        response = rig.api.post("/v1/calendars", json=wanted)
        if response.is_error:
            story.refused(response)
        later = start + timedelta(hours=1, minutes=status % 60)
        moved = {"start": later.isoformat(), "end": (later + timedelta(hours=1)).isoformat()}
        answer(rig.emulator.patch(f"/events/{event}", json=moved))
    for kind in ("wrong_type", "truncate", "html"):
        answer(rig.emulator.post("/faults", json={"kind": kind, "path": "^/api/", "times": 1}))
        answer(rig.emulator.patch(f"/events/{event}", json={"title": story.canaries.people["title"]}))
        time.sleep(0.3)
    answer(rig.emulator.delete("/faults"))


def have_the_database_refuse(story: Story, engine: Engine, event: str, title: str) -> None:
    """Break a constraint, cut connections, and let everything recover."""
    rig = story.rig
    name = "canary_refuses"
    with engine.begin() as tx:
        tx.execute(
            text(f"ALTER TABLE calendar_events ADD CONSTRAINT {name} CHECK (title = '') NOT VALID")
        )
        tx.execute(text(f"ALTER TABLE outbox ADD CONSTRAINT {name} CHECK (id IS NULL) NOT VALID"))
    try:
        answer(rig.emulator.patch(f"/events/{event}", json={"title": f"{title} again"}))
        ours = rig.every("/v1/events")[0]["id"]
        story.refused(rig.api.patch(f"/v1/events/{ours}", json={"record": False}))
        time.sleep(2)
    finally:
        with engine.begin() as tx:
            for table in ("calendar_events", "outbox"):
                tx.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
    with engine.begin() as tx:
        tx.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND application_name = 'punctual' AND usename = current_user"
            )
        )
    with suppress(httpx.HTTPError):
        rig.api.get("/v1/calendars")
    engine.dispose()
    until(lambda: rig.api.get("/v1/calendars").is_success, within=20)


def look_around(story: Story) -> None:
    """Look at every page and with every command, also with settings that do not work."""
    rig, secrets = story.rig, story.canaries.secrets
    story.feed = [str(one) for one in rig.feed()]
    ours = rig.every("/v1/events")[0]["id"]
    for path in VIEWS:
        with httpx.Client(base_url=rig.base_url) as anybody:
            story.shown[path] = [anybody.get(path).text]
    for path in ("/v1/endpoints", "/v1/api-keys", "/v1/deliveries", "/v1/bots", "/v1/calendars"):
        story.shown[path] = [str(rig.every(path))]
    broken = {
        "PUNCTUAL_EVENTS_URL": f"http://punctual:{secrets['password of the broker']}@127.0.0.1:1//",
        "PUNCTUAL_BROKER_URL": f"x://punctual:{secrets['password of the broker']}@127.0.0.1:1//",
        "PUNCTUAL_DATABASE_URL": f"mysql://x:{secrets['password of the database']}@127.0.0.1:1/x",
        "PUNCTUAL_ENCRYPTION_KEYS": secrets["encryption key"][:-4] + "????",
        "PUNCTUAL_RECALL_WEBHOOK_SECRETS": secrets["webhook secret"] + "!",
    }
    unreachable = {
        "PUNCTUAL_EVENTS_URL": f"amqp://punctual:{secrets['password of the broker']}@127.0.0.1:1//",
        "PUNCTUAL_DATABASE_URL": f"postgresql://x:{secrets['password of the database']}@127.0.0.1:1/x",
    }
    asked: list[tuple[tuple[str, ...], dict[str, str]]] = [
        *((command, {}) for command in (*COMMANDS, ("why", str(ours)))),
        (("doctor",), broken),
        (("doctor",), unreachable),
    ]
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda one: run_alone(rig, one[0], one[1]), asked)
    for (command, with_broken), text_said in zip(asked, said, strict=True):
        story.shown[f"{' '.join(command)} {' '.join(with_broken)}"] = [text_said]


def run_alone(rig: Rig, command: tuple[str, ...], changes: dict[str, str]) -> str:
    """Run a command with some settings of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *command],
        env={**rig.environment, **changes},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_log_holds_nothing_secret_and_nothing_of_people(story: Story) -> None:
    logs = {
        path.name: path.read_bytes().splitlines()
        for path in story.rig.logs.glob("*.log")
        if path.stem not in {"sandbox", "broker"}
    }

    assert {"serve.log", "work.log", "work-console.log"} <= set(logs)
    assert any(b"error" in line for line in logs["work.log"] + logs["work-console.log"])
    assert found_by_place(logs, story.canaries, people_too=True) == {}


def test_a_dump_of_the_database_opens_nothing(story: Story, engine: Engine) -> None:
    found = tables_with(engine, story.canaries)

    assert {table: names & set(story.canaries.secrets) for table, names in found.items()} == {
        table: set() for table in found
    }
    assert set(found) <= PLAIN_TABLES
    assert "calendar_events" in found


def test_what_is_sent_out_holds_no_secret(story: Story) -> None:
    posted = [one.body for one in story.sink.received]

    places: dict[str, Iterable[str | bytes]] = {"posts": posted, "AMQP": story.amqp, "feed": story.feed}
    assert posted
    assert story.feed
    assert story.amqp or not is_reachable(AMQP_URL)
    assert found_by_place(places, story.canaries, people_too=False) == {}


def test_a_message_of_the_broker_carries_an_id_and_nothing_else(story: Story) -> None:
    if not story.broker.exists():
        pytest.skip("there is no redis-server here")
    said = story.broker.read_bytes()

    assert b"celery" in said or b"punctual" in said
    assert found_by_place({"broker": said.splitlines()}, story.canaries, people_too=True) == {}


def test_no_refusal_repeats_what_it_refuses(story: Story) -> None:
    assert len(story.refusals) > 100
    assert found_by_place({"refusals": story.refusals}, story.canaries, people_too=True) == {}


def test_no_page_and_no_command_shows_a_secret(story: Story) -> None:
    """Who has a key sees the links of bots and the URLs of subscribers whole (DECISIONS, 7), and no more."""
    whole = {"token of a subscriber", "passcode of a meeting"}
    secrets = {name: value for name, value in story.canaries.secrets.items() if name not in whole}
    for_anybody = {path: story.shown[path] for path in VIEWS}

    assert found_by_place(story.shown, Canaries(secrets), people_too=False) == {}
    assert found_by_place(for_anybody, story.canaries, people_too=True) == {}


def test_no_process_shows_a_secret_to_the_others_on_its_machine(story: Story) -> None:
    lines = {
        name: [Path(f"/proc/{process.pid}/cmdline").read_bytes()]
        for name, process in story.rig.processes.items()
    }

    assert found_by_place(lines, story.canaries, people_too=True) == {}


def test_every_kind_of_secret_was_planted(story: Story) -> None:
    assert len(story.canaries.secrets) + len(story.canaries.people) >= 12


def echo(request: Received) -> Reply:
    """Refuse every other post, and repeat what it said."""
    status = 500 if int(request.at * 1000) % 2 else 204
    said = [request.body, str(dict(request.headers)).encode()] if status == 500 else []
    return Reply(status=status, body=said)


@contextmanager
def a_broker(folder: Path, password: str) -> Iterator[str]:
    """A Redis of our own that asks for a password, everything it is told written down; else none."""
    program = shutil.which("redis-server")
    if program is None:
        yield "memory://"
        return
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--requirepass", password, "--save", "", "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    client = redis.Redis(port=port, password=password)
    try:
        until(lambda: does_answer(client), within=10)
        with (folder / "broker.log").open("wb") as log:
            watching = subprocess.Popen(
                ["redis-cli", "-p", str(port), "--no-auth-warning", "MONITOR"],
                env={**os.environ, "REDISCLI_AUTH": password},
                stdout=log,
            )
        try:
            yield f"redis://:{password}@127.0.0.1:{port}/0"
        finally:
            watching.terminate()
            watching.wait()
    finally:
        client.close()
        process.terminate()
        process.wait(10)


def does_answer(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def listening(url: str) -> Iterator[list[bytes]]:
    """Hear every domain event published from now on: headers, properties and body."""
    heard: list[bytes] = []
    if not url:
        yield heard
        return
    with Connection(url) as connection:
        exchange = Exchange(EXCHANGE, type="topic", durable=True)
        queue = Queue(EXCHANGE, exchange, routing_key="#", durable=False, auto_delete=True)
        bound = queue(connection.default_channel)
        bound.declare()

        class Heard(list[bytes]):
            """What has come, looked for when asked."""

            def __iter__(self) -> Iterator[bytes]:
                while (message := bound.get(no_ack=True)) is not None:
                    body = (
                        bytes(message.body)
                        if isinstance(message.body, bytes)
                        else str(message.body).encode()
                    )
                    self.append(body + str(message.headers).encode() + str(message.properties).encode())
                return super().__iter__()

            def __bool__(self) -> bool:
                return any(True for _ in self)

        yield Heard()
        exchange(connection.default_channel).delete()


def is_reachable(url: str) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", 5672), 1):
        return url.startswith("amqp")
    return False
