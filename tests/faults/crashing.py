"""
The stage on which processes die: who is alive, how the dead come back, and whether all is right.

Time does not pass here by waiting: after a death the stage ends the leases of the dead in the
database, which alone knows them, and lets every wait be over.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from kombu import Connection as Broker
from kombu import Exchange, Queue
from sqlalchemy import Engine, text

from models.db import make_engine
from tests.faults import crashing_lives
from tests.publishers.sink import Received, Reply, Sink, a_sink
from tests.system.oracle import Copy, Oracle, spec_of
from tests.system.rig import ENCRYPTION_KEYS, KEY, SANDBOX_KEY, SECRET, answer, free_port
from worker.bootstrap import prepare
from worker.settings import Settings

WORKER, RECEIVER = "worker", "receiver"
KILLED = -9
PATIENCE_S = 90.0
HOUR = timedelta(hours=1)
MOST_DOUBLE_S = 60.0
MODES = ("recall_managed", "recall_self_managed")
#: An order to die, as the environment of a process says it.
Armed = Mapping[str, str]


class Trouble(AssertionError):
    """Something is not as it has to be."""


@dataclass
class Life:
    """One process of the stage."""

    process: ForkServerProcess
    line: Connection | None = None
    is_armed: bool = False

    @property
    def is_over(self) -> bool:
        return self.process.exitcode is not None


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


@dataclass
class Stage:
    """
    A Punctual whose worker and receiver may die, the Recall it talks to, and what should be true.

    `oracle` is told of every edit and knows which bots should live; nothing of the product helps it.
    """

    folder: Path
    environment: dict[str, str]
    db: Engine
    emulator: httpx.Client
    api: httpx.Client
    emulator_url: str
    sink: Sink
    ear: Ear | None = None
    oracle: Oracle = field(default_factory=Oracle)
    lives: dict[str, Life] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    people: tuple[str, ...] = ()
    is_refusing: bool = False
    taken: list[Received] = field(default_factory=list)
    _meetings: int = 0
    _orders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    # Lives

    def start(self, role: str, armed: Armed | None = None) -> None:
        """Bring a role to life, with an order to die perhaps."""
        environment = {**self.environment, **(armed or {})}
        log_file = str(self.folder / f"{role}.log")
        line = None
        if role == WORKER:
            line, far = _FORKS.Pipe()
            process = _FORKS.Process(target=crashing_lives.work, args=(environment, log_file, far))
        else:
            process = _FORKS.Process(target=crashing_lives.receive, args=(environment, log_file))
        process.daemon = True
        process.start()
        if line is not None:
            far.close()
        self.lives[role] = Life(process, line, is_armed=bool(armed))
        self._await_birth(role)

    def restart(self, role: str, armed: Armed | None = None) -> None:
        """End a role's life in peace and begin another one."""
        self.stop(role)
        self.start(role, armed)

    def stop(self, role: str) -> None:
        """Let a role end as a service manager would."""
        life = self.lives.pop(role, None)
        if life is None or life.is_over:
            return
        if life.line is not None:
            with suppress(OSError):
                life.line.send("stop")
        else:
            life.process.terminate()
        life.process.join(PATIENCE_S)
        if life.is_armed and life.process.exitcode == KILLED:
            self.deaths.append(role)  # its point is passed on the way out
        if not life.is_over:
            life.process.kill()
            raise Trouble(f"the {role} did not stop")

    def revive(self, role: str) -> None:
        """Bring a role back that has died as ordered; any other death is trouble."""
        life = self.lives[role]
        life.process.join(PATIENCE_S)
        if not life.is_armed or life.process.exitcode != KILLED:
            raise Trouble(f"the {role} died by itself: code {life.process.exitcode}")
        self.deaths.append(role)
        self.let_time_pass()
        following = self._orders[role].pop(0) if self._orders[role] else None
        self.start(role, {"PUNCTUAL_CRASH_AT": following} if following else None)
        if role == RECEIVER:
            answer(self.emulator.post("/deliveries/replay", json={"state": "pending"}))

    def order(self, role: str, *points: str) -> None:
        """Have a role die at each of these points, one after the other, from the next life on."""
        first, *following = points
        self._orders[role] = list(following)
        self.restart(role, {"PUNCTUAL_CRASH_AT": first})

    def disarm(self) -> None:
        """Have nobody die any more."""
        self._orders.clear()
        for role, life in list(self.lives.items()):
            if life.is_armed:
                self.restart(role)

    def start_over(self) -> None:
        """After trouble: leave nothing of it to the next chapter."""
        self._orders.clear()
        self.recover()
        self.keep_bot_news_back(kept=False)
        self.is_refusing = False
        for role in (RECEIVER, WORKER):
            life = self.lives.pop(role, None)
            if life is not None:
                _end(life.process)
        self.let_time_pass()
        self.start(RECEIVER)
        self.start(WORKER)
        self.exclude()
        self.clean_up()
        self.settle()

    def _await_birth(self, role: str) -> None:
        life = self.lives[role]
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if life.is_over and life.is_armed:
                return self.revive(role)  # its point was passed on the way up
            if life.is_over:
                break
            if life.line is not None:
                if life.line.poll(0.05) and _heard(life.line) == "ready":
                    return None
            elif self._serves():
                return None
        raise Trouble(f"the {role} did not start; see {self.folder}/{role}.log")

    def _serves(self) -> bool:
        try:
            return self.api.get("/healthz").is_success
        except httpx.TransportError:
            time.sleep(0.01)
            return False

    def end(self) -> None:
        """Let nobody live on."""
        for life in self.lives.values():
            _end(life.process)

    # Time

    def settle(self) -> None:
        """Have everything that is known acted on, reviving whoever dies on the way."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.hear_out()
            ran, failed = self.work()
            if failed:
                raise Trouble(f"jobs failed: {failed[:5]}")
            if not ran and self._all_sent():
                return
        raise Trouble(f"not quiet within {PATIENCE_S:.0f} s: {self.waiting()}")

    def work(self) -> tuple[dict[str, int], list[str]]:
        """Have the worker run what is due; if it dies, its successor does."""
        while True:
            life = self.lives[WORKER]
            assert life.line is not None
            try:
                life.line.send("work")
                if not life.line.poll(PATIENCE_S):
                    raise Trouble("the worker hangs")
                ran, failed = life.line.recv()
                return ran, failed
            except (EOFError, OSError):
                self.revive(WORKER)

    def hear_out(self) -> None:
        """Wait until the receiver has answered every notification, reviving it if it dies."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.lives[RECEIVER].is_over:
                self.revive(RECEIVER)
            if self._all_sent():
                return
            time.sleep(0.004)
        raise Trouble("notifications are not answered")

    def _all_sent(self) -> bool:
        sent = answer(self.emulator.get("/state"))["webhooks"]
        if sent["in_flight"] or not sent["waiting"]:
            return not (sent["in_flight"] or sent["waiting"])
        if not self.lives[RECEIVER].is_over:
            # Refused for a moment while nobody listened: the sender would come again in five seconds.
            answer(self.emulator.post("/deliveries/replay", json={"state": "pending"}))
        return False

    def let_time_pass(self) -> None:
        """Let every lease run out and every wait be over."""
        with self.db.begin() as tx:
            for table in ("calendars", "slots", "endpoints", "sources", "duties"):
                tx.execute(
                    text(
                        f"UPDATE {table} SET lease_until = NULL, due_at = least(due_at, now())"  # fixed names
                        " WHERE lease_until IS NOT NULL OR due_at > now()"
                    )
                )
            tx.execute(text("UPDATE endpoints SET held_until = NULL WHERE held_until > now()"))
            tx.execute(text("UPDATE postings SET due_at = now() WHERE due_at > now()"))
            tx.execute(text("UPDATE outbox SET publish_after = NULL WHERE publish_after > now()"))
            tx.execute(text("DELETE FROM leases"))
            tx.execute(text("DELETE FROM budgets"))

    # What the world does

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the API as a careful client does: again, under the same key, until there is an answer."""
        key = uuid4().hex
        headers = {"Idempotency-Key": key} if method == "POST" else {}
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                response = self.api.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                if self.lives[RECEIVER].is_over or _dies_soon(self.lives[RECEIVER]):
                    self.revive(RECEIVER)
                continue
            if response.status_code == 409 and "request_in_flight" in response.text:
                self._forget_open_requests()
                continue
            if response.status_code == 404 and method == "DELETE":
                return None
            return answer(response)
        raise Trouble(f"{method} {path}: no answer")

    def _forget_open_requests(self) -> None:
        with self.db.begin() as tx:
            tx.execute(
                text(
                    "UPDATE idempotent_requests SET created_at = created_at - interval '1 hour'"
                    " WHERE status IS NULL"
                )
            )

    def calendar(self, email: str | None = None) -> str:
        """Connect a mailbox at Recall; Recall's id for it is returned."""
        wish = {"email": email or f"person{uuid4().hex[:8]}@example.com"}
        return str(answer(self.emulator.post("/calendars", json=wish))["id"])

    def ours(self, ref: str) -> str:
        """Return our own id of a calendar."""
        found = self.call("GET", f"/v1/calendars?external_id={ref}")["data"]
        return str(found[0]["id"])

    def meeting(self, calendar: str, *, title: str = "weekly sync", like: str | None = None) -> str:
        """Put a meeting into a calendar, a new one or another one's copy."""
        if like is None:
            self._meetings += 1
            start = _BASE + self._meetings * timedelta(minutes=5)
            copy = Copy(calendar, start, f"https://meet.google.com/{_letters(self._meetings)}", title)
        else:
            known = self.oracle.copies[like]
            copy = Copy(calendar, known.start, known.link, known.title)
        made = answer(self.emulator.post(f"/calendars/{calendar}/events", json=spec_of(copy)))
        self.oracle.copies[made["id"]] = copy
        return str(made["id"])

    def edit(self, event: str, **fields: Any) -> None:
        """Change a meeting at its calendar; `start` and `link` as the oracle keeps them."""
        copy = self.oracle.copies[event]
        wish = dict(fields)
        if "start" in fields:
            wish["start"] = fields["start"].isoformat()
            wish["end"] = (fields["start"] + HOUR).isoformat()
        answer(self.emulator.patch(f"/events/{event}", json=wish))
        known: dict[str, Any] = {
            name: fields[name] for name in ("start", "link", "title") if name in fields
        }
        self.oracle.copies[event] = replace(copy, **known)

    def move(self, event: str, minutes: int = 2) -> None:
        """Move a meeting a little."""
        self.edit(event, start=self.oracle.copies[event].start + timedelta(minutes=minutes))

    def relink(self, event: str) -> None:
        """Give a meeting another link."""
        self._meetings += 1
        self.edit(event, link=f"https://meet.google.com/{_letters(self._meetings)}")

    def delete(self, event: str) -> None:
        """Delete a meeting at its calendar."""
        answer(self.emulator.delete(f"/events/{event}"))
        self.forget(event)

    def forget(self, *events: str) -> None:
        """Expect no bot for these any more."""
        for event in events:
            copy = self.oracle.copies[event]
            self.oracle.copies[event] = replace(copy, gone=True)

    def exclude(self, *words: str) -> None:
        """Rule out titles with these words."""
        self.call("PUT", "/v1/rules", {"select": ["all"], "title_excludes": list(words)})
        self.oracle.excluded = list(words)

    def bots_of(self, event: str) -> list[dict[str, Any]]:
        """List the live bots at a meeting's link and time."""
        copy = self.oracle.copies[event]
        seat = (copy.link, copy.start.isoformat()[:19])
        return [bot for bot in self.live_bots() if _seat(bot) == seat]

    def live_bots(self) -> list[dict[str, Any]]:
        """List the bots that live at Recall; one that is leaving does not."""
        found = answer(self.emulator.get("/bots", params={"live": "true"}))
        return [bot for bot in found if bot["state"] != "call_ended"]

    def fault(self, **wish: Any) -> None:
        """Order a fault of Recall's."""
        answer(self.emulator.post("/faults", json=wish))

    def recover(self) -> None:
        """Withdraw every fault of Recall's."""
        answer(self.emulator.delete("/faults"))

    def keep_bot_news_back(self, *, kept: bool) -> None:
        """Have Recall say nothing about bots, or again what happens to them."""
        only = ["calendar.sync_events", "calendar.update"]
        answer(self.emulator.put("/webhook", json={"events": only if kept else None}))

    def put_astray_bot(self) -> None:
        """Have a bot of this installation's live at Recall that no slot knows."""
        with self.db.begin() as tx:
            install_id = tx.execute(text("SELECT install_id FROM installation")).scalar_one()
        marks = {"punctual_install": str(install_id), "punctual_slot": str(uuid4())}
        join_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        answer(self.emulator.post("/bots", json={"join_at": join_at, "metadata": marks}))

    def have_duties_done(self) -> None:
        """Let the time come for what is done every few minutes, and have it done."""
        with self.db.begin() as tx:
            tx.execute(text("UPDATE slots SET updated_at = updated_at - interval '5 minutes'"))
            tx.execute(text("UPDATE duties SET wanted = wanted + 1, due_at = now()"))

    def subscribe(self, path: str = "") -> str:
        """Make the sink a subscriber; our id of the endpoint is returned."""
        url = f"http://127.0.0.1:{self.sink.port}/{path or uuid4().hex}"
        return str(self.call("POST", "/v1/endpoints", {"url": url})["id"])

    def clean_up(self) -> None:
        """Delete every meeting that is left."""
        for event, copy in self.oracle.copies.items():
            if not copy.gone:
                answer(self.emulator.delete(f"/events/{event}"))
        self.oracle.copies.clear()

    # Judging

    def waiting(self) -> dict[str, int]:
        """Count what still has to be done, by kind; empty at rest."""
        questions = {
            **{
                f"{table} due": f"SELECT count(*) FROM {table} WHERE wanted > done"  # fixed names
                for table in ("calendars", "slots", "sources", "duties")
            },
            "endpoints due": "SELECT count(*) FROM endpoints WHERE wanted > done AND state = 'active'",
            "unsettled": "SELECT count(*) FROM calendar_events WHERE unsettled",
            "intents": "SELECT count(*) FROM slots WHERE op IS NOT NULL",
            "deliveries": "SELECT count(*) FROM deliveries WHERE state IN ('stored', 'parked')",
            "unnumbered": "SELECT count(*) FROM outbox WHERE position IS NULL",
            "postings": "SELECT count(*) FROM postings WHERE state = 'waiting'",
            "gaps": "SELECT count(*) FROM (SELECT 1 FROM outbox GROUP BY subject"
            " HAVING count(*) <> max(sequence)) AS broken",
        }
        if self.ear is not None:
            questions["unpublished"] = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
        with self.db.begin() as tx:
            counts = {name: tx.execute(text(sql)).scalar_one() for name, sql in questions.items()}
        return {name: count for name, count in counts.items() if count}

    def check(self) -> None:
        """Raise Trouble unless every bot is where it should be and nothing waits."""
        seats = sorted(_seat(bot) for bot in self.live_bots())
        if seats != sorted(self.oracle.seats()):
            raise Trouble(f"live bots {seats}, wanted {sorted(self.oracle.seats())}")
        if waiting := self.waiting():
            raise Trouble(f"at rest, yet: {waiting}")

    def check_whole_story(self) -> dict[str, int]:
        """Judge everything that was ever said and done; how much that was is returned."""
        feed = self._feed()
        told = {"feed": feed, "subscriber": [_line_of(post.event) for post in self._standing_posts()]}
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
            lines += [_line_of(event) for event in page["data"]]
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


@dataclass(frozen=True)
class Doubles:
    """How often, how long at most, and whether in a call, two bots of one slot lived at once."""

    moments: int
    longest_s: float
    in_call: int


def doubles_in(history: list[dict[str, Any]]) -> Doubles:
    """Replay what happened to bots at Recall and find every time at which a slot had two."""
    slot_of: dict[str, str] = {}
    living: dict[str, set[str]] = defaultdict(set)
    calling: dict[str, set[str]] = defaultdict(set)
    since: dict[str, datetime] = {}
    moments, longest_s, in_call = 0, 0.0, 0
    for record in history:
        bot, at = str(record["id"]), datetime.fromisoformat(record["at"])
        if record["kind"] == "bot.created":
            slot_of[bot] = str(record["metadata"].get("punctual_slot", bot))
        slot = slot_of[bot]
        match record["kind"], record.get("code"):
            case "bot.created", _:
                living[slot].add(bot)
            case ("bot.deleted", _) | ("bot.state", "call_ended" | "done" | "fatal"):
                living[slot].discard(bot)
                calling[slot].discard(bot)
            case "bot.state", "in_call_recording" | "in_call_not_recording":
                calling[slot].add(bot)
        if len(calling[slot]) > 1:
            in_call += 1
        if len(living[slot]) > 1 and slot not in since:
            since[slot] = at
            moments += 1
        elif len(living[slot]) <= 1 and slot in since:
            longest_s = max(longest_s, (at - since.pop(slot)).total_seconds())
    if since:
        raise Trouble(f"two bots to the end in {len(since)} slots")
    return Doubles(moments, longest_s, in_call)


#: A domain event as a consumer sees it: id, subject, sequence.
Line = tuple[str, str, int]


def _line_of(event: Mapping[str, Any]) -> Line:
    return (str(event["id"]), str(event["subject"]), int(event["sequence"]))


def check_in_order(whom: str, lines: list[Line]) -> None:
    """Raise Trouble unless the first arrivals of each subject count 1, 2, 3 …"""
    newest: dict[str, int] = defaultdict(int)
    seen: set[str] = set()
    for event_id, subject, sequence in lines:
        if event_id in seen:
            continue
        seen.add(event_id)
        if sequence != newest[subject] + 1:
            raise Trouble(f"{whom}: {subject} went from {newest[subject]} to {sequence}")
        newest[subject] = sequence


def _seat(bot: Mapping[str, Any]) -> tuple[str, str]:
    return (str(bot["meeting_url"]), str(bot["join_at"])[:19])


def _letters(number: int) -> str:
    """Spell a number as the code of a meeting."""
    letters = ""
    for _ in range(10):
        number, rest = divmod(number, 26)
        letters += chr(97 + rest)
    return f"{letters[:3]}-{letters[3:7]}-{letters[7:]}"


def _heard(line: Connection) -> object:
    try:
        return line.recv()
    except (EOFError, OSError):
        return None


def _dies_soon(life: Life) -> bool:
    life.process.join(0.5)
    return life.is_over


_FORKS = multiprocessing.get_context("forkserver")
_BASE = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=2)


@contextmanager
def a_stage(
    folder: Path, database_url: str, *, mode: str = MODES[0], broker_url: str | None = None
) -> Iterator[Stage]:
    """Set the stage for the length of a `with` block: Recall, a database, two calendars, a subscriber."""
    _FORKS.set_forkserver_preload([crashing_lives.__name__])
    folder.mkdir(parents=True, exist_ok=True)
    port, emulator_port = free_port(), free_port()
    emulator_url = f"http://127.0.0.1:{emulator_port}"
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
        stage = Stage(folder, environment, db, emulator, api, emulator_url, sink, ear)
        sink.reply = stage._take
        arguments = ["--port", str(emulator_port), "--api-key", SANDBOX_KEY]
        arguments += ["--webhook-url", f"http://127.0.0.1:{port}/webhooks/recall"]
        arguments += ["--webhook-secret", SECRET]
        recall = _FORKS.Process(
            target=crashing_lives.emulate, args=(arguments, str(folder / "emulator.log"))
        )
        recall.daemon = True
        recall.start()
        opened.callback(_end, recall)
        _until(lambda: _listens(emulator_port), "the emulator did not start")
        answer(emulator.patch("/limits", json={"enabled": False, "connect_ms": 0}))
        opened.callback(stage.end)
        stage.start(RECEIVER)
        stage.start(WORKER)
        stage.exclude()
        stage.subscribe("standing")
        stage.people = (stage.calendar(), stage.calendar())
        stage.settle()
        yield stage


def _end(process: ForkServerProcess) -> None:
    process.kill()
    process.join(5)


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
