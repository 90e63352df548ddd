"""The stage on which processes die: everything that takes part, and whether all is right in the end."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
from kombu import Connection as Broker
from kombu import Exchange, Queue
from sqlalchemy import text

from models.db import make_engine
from tests.faults import crashing_lives
from tests.faults.crashing_accounts import PLATFORMS, AccountsWorld
from tests.faults.crashing_world import seat_of
from tests.faults.dying import FORKS, PATIENCE_S, RECEIVER, WORKER, Trouble, kill_off
from tests.faults.verdicts import Line, check_in_order, doubles_in, line_of
from tests.publishers.sink import Received, Reply, a_sink
from tests.system.rig import ENCRYPTION_KEYS, KEY, SANDBOX_KEY, SECRET, answer, free_port
from worker.bootstrap import prepare
from worker.sandbox.__main__ import CLIENT_ID, CLIENT_SECRET
from worker.settings import Settings

MOST_DOUBLE_S = 60.0
MODES = ("recall_managed", "recall_self_managed")


class Ear:
    """Hears every domain event that is published to the broker."""

    def __init__(self, url: str, exchange: str) -> None:
        self._broker = Broker(url)
        self._queue = Queue(
            f"{exchange}.ear", Exchange(exchange, type="topic", durable=True), "#", exclusive=True
        )(self._broker.default_channel)
        self._queue.declare()
        self.heard: list[tuple[str, str, int]] = []

    def listen(self) -> list[tuple[str, str, int]]:
        """Return (id, subject, sequence) of everything heard so far, in order."""
        while (message := self._queue.get(no_ack=True)) is not None:
            headers = message.headers
            self.heard.append(
                (
                    str(headers["cloudEvents_id"]),
                    str(headers["cloudEvents_subject"]),
                    int(headers["cloudEvents_sequence"]),
                )
            )
        return self.heard

    def close(self) -> None:
        self._broker.release()


@dataclass(kw_only=True)
class Stage(AccountsWorld):
    """A Punctual whose worker and receiver may die, and everything that tells whether it kept its word."""

    ear: Ear | None = None
    is_refusing: bool = False
    taken: list[Received] = field(default_factory=list)

    def start_over(self) -> None:
        """After trouble: leave nothing of it to the next chapter."""
        self._orders.clear()
        self.recover()
        self.keep_bot_news_back(kept=False)
        self.is_refusing = False
        for role in (RECEIVER, WORKER):
            life = self.lives.pop(role, None)
            if life is not None:
                kill_off(life.process)
        self.let_time_pass()
        self.start(RECEIVER)
        self.start(WORKER)
        self.exclude()
        self.clean_up()
        self.settle()
        self.reconnect_lost()
        self.settle()

    def check(self) -> None:
        """Raise Trouble unless every bot is where it should be and nothing waits."""
        seats = sorted(seat_of(bot) for bot in self.live_bots())
        if seats != sorted(self.oracle.seats()):
            raise Trouble(f"live bots {seats}, wanted {sorted(self.oracle.seats())}")
        if waiting := self.waiting():
            raise Trouble(f"at rest, yet: {waiting}")

    def check_whole_story(self) -> dict[str, int]:
        """Judge everything that was ever said and done; how much that was is returned."""
        feed = self._feed()
        told = {"feed": feed, "subscriber": [line_of(post.event) for post in self._standing_posts()]}
        if self.ear is not None:
            told["broker"] = self.ear.listen()
        for whom, lines in told.items():
            check_in_order(whom, lines)
            if missing := {line[0] for line in feed} - {line[0] for line in lines}:
                raise Trouble(f"{len(missing)} domain events never reached the {whom}")
        lost = self._lost_deliveries()
        if lost:
            raise Trouble(f"{len(lost)} answered deliveries are not stored: {lost[:3]}")
        history = answer(self.emulator.get("/history", params={"kind": "bot.", "limit": "500000"}))
        doubles = doubles_in(history["records"])
        if doubles.in_call or doubles.longest_s > MOST_DOUBLE_S:
            raise Trouble(f"two bots of one slot: {doubles}")
        repeats = sum(len(lines) - len({line[0] for line in lines}) for lines in told.values())
        return {
            "domain events": len(feed),
            "repeated to consumers": repeats,
            "moments of two bots": doubles.moments,
        }

    def _feed(self) -> list[Line]:
        lines: list[Line] = []
        after = ""
        while True:
            page = self.call("GET", f"/v1/feed?limit=200{after}")
            if not page["data"]:
                return lines
            lines += [line_of(event) for event in page["data"]]
            after = f"&after={page['next']}"

    def _standing_posts(self) -> list[Received]:
        return [post for post in self.taken if post.path == "/standing"]

    def _take(self, post: Received) -> Reply:
        if self.is_refusing:
            return Reply(status=500)
        self.taken.append(post)
        return Reply()

    def _lost_deliveries(self) -> list[str]:
        sent = answer(self.emulator.get("/deliveries", params={"limit": "200000"}))
        acked = [
            message["id"]
            for message in sent
            if any(
                tried["status"] is not None and tried["status"] < 300 for tried in message["attempts"]
            )
        ]
        with self.db.begin() as tx:
            stored = set(tx.execute(text("SELECT message_id FROM deliveries")).scalars())
        return [message_id for message_id in acked if message_id not in stored]


@contextmanager
def a_stage(
    folder: Path, database_url: str, *, mode: str = MODES[0], broker_url: str | None = None
) -> Iterator[Stage]:
    """
    Set the stage for the length of a `with` block: a database, two calendars at Recall, one each of an
    account at Google and at Microsoft, a subscriber.
    """
    FORKS.set_forkserver_preload([crashing_lives.__name__])
    folder.mkdir(parents=True, exist_ok=True)
    port, emulator_port = free_port(), free_port()
    emulator_url = f"http://127.0.0.1:{emulator_port}"
    port_by_platform = {platform: free_port() for platform in PLATFORMS}
    url_by_platform = {name: f"http://127.0.0.1:{n}" for name, n in port_by_platform.items()}
    google_url, microsoft_url = (url_by_platform[platform] for platform in PLATFORMS)
    environment = {
        "PUNCTUAL_DATA_DIR": str(folder),
        "PUNCTUAL_DATABASE_URL": database_url,
        "PUNCTUAL_BROKER_URL": "memory://",
        "PUNCTUAL_EVENTS_URL": broker_url or "",
        "PUNCTUAL_EVENTS_EXCHANGE": f"punctual.crash.{uuid4().hex[:8]}",
        "PUNCTUAL_HTTP_PORT": str(port),
        "PUNCTUAL_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        "PUNCTUAL_ADMIN_API_KEY": KEY,
        "PUNCTUAL_RECALL_API_KEY": SANDBOX_KEY,
        "PUNCTUAL_RECALL_BASE_URL": emulator_url,
        "PUNCTUAL_RECALL_WEBHOOK_SECRETS": SECRET,
        "PUNCTUAL_BOT_MODE": mode,
        "PUNCTUAL_ALLOW_PRIVATE_ENDPOINTS": "true",
        "PUNCTUAL_GOOGLE_CLIENT_ID": CLIENT_ID,
        "PUNCTUAL_GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        **{f"PUNCTUAL_GOOGLE_{what}_URL": google_url for what in ("ACCOUNTS", "OAUTH", "API")},
        "PUNCTUAL_MICROSOFT_CLIENT_ID": CLIENT_ID,
        "PUNCTUAL_MICROSOFT_CLIENT_SECRET": CLIENT_SECRET,
        **{f"PUNCTUAL_MICROSOFT_{what}_URL": microsoft_url for what in ("LOGIN", "GRAPH")},
        **{
            f"PUNCTUAL_RECALL_{kind}_PER_MINUTE": "60000"
            for kind in ("LIST", "SCHEDULE", "BOT_CREATE", "OTHER")
        },
    }
    prepare(
        Settings(
            _env_file=None,
            database_url=database_url,
            encryption_keys=ENCRYPTION_KEYS,
            admin_api_key=KEY,
        )
    )
    with ExitStack() as opened:
        db = make_engine(database_url, pool_size=2)
        opened.callback(db.dispose)
        emulator = opened.enter_context(
            httpx.Client(base_url=f"{emulator_url}/_emulator", timeout=15, trust_env=False)
        )
        api = opened.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=15,
                trust_env=False,
            )
        )
        sink = opened.enter_context(a_sink())
        ear = None
        if broker_url is not None:
            ear = Ear(broker_url, environment["PUNCTUAL_EVENTS_EXCHANGE"])
            opened.callback(ear.close)
        stage = Stage(
            folder=folder,
            environment=environment,
            db=db,
            emulator=emulator,
            api=api,
            sink=sink,
            ear=ear,
            platforms={
                name: opened.enter_context(
                    httpx.Client(base_url=f"{url}/_emulator", timeout=15, trust_env=False)
                )
                for name, url in url_by_platform.items()
            },
        )
        sink.reply = stage._take
        arguments = ["--port", str(emulator_port), "--api-key", SANDBOX_KEY]
        arguments += ["--webhook-url", f"http://127.0.0.1:{port}/webhooks/recall"]
        arguments += ["--webhook-secret", SECRET]
        for name, platform_port in port_by_platform.items():
            arguments += [f"--{name}-port", str(platform_port)]
            arguments += ["--redirect-uri", f"http://127.0.0.1:{port}/oauth/{name}/callback"]
        recall = FORKS.Process(
            target=crashing_lives.emulate, args=(arguments, str(folder / "emulator.log"))
        )
        recall.daemon = True
        recall.start()
        opened.callback(kill_off, recall)
        _until(lambda: _listens(emulator_port), "the emulator did not start")
        answer(emulator.patch("/limits", json={"enabled": False, "connect_ms": 0}))
        opened.callback(stage.end)
        stage.start(RECEIVER)
        stage.start(WORKER)
        stage.exclude()
        stage.subscribe("standing")
        stage.people = (stage.calendar(), stage.calendar())
        stage.connect_owners()
        stage.settle()
        yield stage


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _until(question: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not question():
        if time.monotonic() > end:
            raise Trouble(otherwise)
        time.sleep(0.01)
