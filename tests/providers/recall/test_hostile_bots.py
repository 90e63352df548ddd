"""
What hostile or broken answers about bots do: no second bot, no key told, no loop.

The rows are those of test_hostile_answers.py; each test's id begins with the number of its row.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from tenacity import wait_none

from models.domain.bots import BotState
from models.sealing import Vault
from tests.builders import a_calendar
from tests.fakes import FakeAllowance
from tests.providers.recall.answering import Say, answering, http
from tests.providers.recall.hostile import (
    AHEAD,
    API_KEY,
    BOMB,
    KEY,
    KINDS,
    OTHERS,
    SEAT,
    a_bot,
    a_page,
    a_row,
    an_event_with,
    calling,
    list_anew,
    provider_of,
    recall_says,
)
from tests.worker.world import World
from worker.errors import AlreadyGone, AuthorizationLost, Reaction, TooLate, TryLater
from worker.providers.recall.client import BOTS, EVENTS, OTHER
from worker.providers.recall.reactions import RefusedBy
from worker.turns import Outcome


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.http._backing_off", wait_none())


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    return World(db, vault)


# P12 to P20, P24, P25: answers about bots ------------------------------------------------------


# Answers to "make a bot": for bots of our own, and for bots on events.
CREATED: dict[str, tuple[Say, Say]] = {
    "P13 200": (http(200, a_bot(SEAT)), http(200, an_event_with(SEAT))),
    "P13 201": (http(201, a_bot(SEAT)), http(201, an_event_with(SEAT))),
    "P13 202": (http(202, a_bot(SEAT)), http(202, an_event_with(SEAT))),
    "P11 fields we do not know": (
        http(201, a_bot(SEAT, mood={}, status_changes=[{"code": "dancing"}])),
        http(200, an_event_with(SEAT, mood=[])),
    ),
}
IN_DOUBT: dict[str, tuple[Say, Say]] = {
    "P12 no id": (http(201, a_bot(SEAT, id=None)), http(200, an_event_with(SEAT, bot_id=None))),
    "P12 id a number": (http(201, a_bot(SEAT, id=7)), http(200, an_event_with(SEAT, bot_id=7))),
    "P12 an id that is a path": (
        http(201, a_bot(SEAT, id="../calendars")),
        http(200, an_event_with(SEAT, bot_id="a/b")),
    ),
    "P12 another slot's bot": (
        http(201, a_bot(OTHERS)),
        http(200, an_event_with(SEAT, deduplication_key="theirs")),
    ),
    "P13 204": (http(204), http(204)),
    "P1 html": (http(200, b"<h1>hi</h1>"), http(200, b"<h1>hi</h1>")),
    "P1 truncated": (http(201, a_bot(SEAT))[:-9], http(200, an_event_with(SEAT))[:-9]),
    "P21 redirect": (
        http(307, b"", "location: http://169.254.169.254/"),
        http(307, b"", "location: http://169.254.169.254/"),
    ),
    "P25 another event": (http(200, b"[]"), http(200, an_event_with(SEAT) | {"id": "e2"})),
    "P25 no event": (http(200, {}), http(200, {"bots": []})),
    "P18 409": (http(409, {"code": "conflict"}), http(409, {"code": "conflict"})),
    "P23 bomb": (
        http(200, BOMB, "content-encoding: gzip"),
        http(200, BOMB, "content-encoding: gzip"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("says", CREATED.values(), ids=CREATED)
def test_a_success_with_our_bot_is_one(says: tuple[Say, Say], kind: str) -> None:
    step, which = KINDS[kind]
    with answering(says[which]) as line, calling(line) as client:
        standing = provider_of(client, kind).carry_out(step, key=KEY)

    assert (standing.bot_id, standing.state) == ("b1", BotState.SCHEDULED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("says", IN_DOUBT.values(), ids=IN_DOUBT)
def test_an_answer_without_our_bot_leaves_it_open_whether_there_is_one(
    says: tuple[Say, Say], kind: str
) -> None:
    step, which = KINDS[kind]
    with answering(says[which]) as line, calling(line) as client, pytest.raises(TryLater) as raised:
        provider_of(client, kind).carry_out(step, key=KEY)

    assert not raised.value.is_definite
    posts = [request.lower() for request in line.requests if request.startswith(b"POST")]
    assert {request.partition(b"idempotency-key: ")[2][:36] for request in posts} == {str(KEY).encode()}


DENIALS: dict[str, tuple[Say, type[Reaction]]] = {
    "P14 400": (http(400, {"meeting_url": ["Enter a valid meeting URL."]}), RefusedBy),
    "P14 422": (http(422, {"detail": "no"}), RefusedBy),
    "P15 401": (http(401, {"code": "authentication_failed"}), AuthorizationLost),
    "P15 402": (http(402, {"code": "payment_required"}), AuthorizationLost),
    "P15 403": (http(403, {"code": "permission_denied"}), AuthorizationLost),
    "P15 403 of a firewall": (http(403, b"<h1>Forbidden</h1>"), RefusedBy),
    "P16 404 on an item": (http(404, {"code": "not_found"}), AlreadyGone),
    "P16 404 of a proxy": (http(404, b"<h1>nginx</h1>"), TryLater),
    "P17 405": (http(405, {"code": "method_not_allowed"}), TooLate),
    "P18 409": (http(409, {"code": "conflict"}), TryLater),
    "P20 507": (http(507, {"code": "adhoc_pool_depleted"}), TryLater),
}


@pytest.mark.parametrize(("say", "reaction"), DENIALS.values(), ids=DENIALS)
def test_a_denial_has_its_one_reaction(say: Say, reaction: type[Reaction]) -> None:
    with answering(say) as line, calling(line) as client, pytest.raises(Reaction) as raised:
        client.ask("PATCH", f"{BOTS}b1/", operation="update_bot", budget=OTHER, body={"a": 1})

    assert type(raised.value) is reaction
    assert API_KEY not in str(raised.value)


def test_p20_an_empty_pool_is_asked_again_in_thirty_seconds_and_surely_gave_nothing() -> None:
    with (
        answering(http(507, {"code": "adhoc_pool_depleted"})) as line,
        calling(line) as client,
        pytest.raises(TryLater) as raised,
    ):
        provider_of(client, "managed").carry_out(KINDS["managed"][0], key=KEY)

    assert raised.value.after == timedelta(seconds=30)
    assert raised.value.is_definite


DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
WAITS = {
    "P19 0": ("0", 1),
    "P19 -5": ("-5", 1),
    "P19 86400": ("86400", 900),
    "P19 soon": ("soon", 10),
    "P19 a date past": ("Sat, 21 Nov 2026 11:00:00 GMT", 1),
    "P19 a date to come": ("Sat, 21 Nov 2026 12:01:00 GMT", 60),
    "P19 a date far off": ("Sun, 21 Nov 2027 12:00:00 GMT", 900),
    "P19 missing": (None, 10),
}


@pytest.mark.parametrize(("asked", "seconds"), WAITS.values(), ids=WAITS)
def test_a_throttled_call_waits_as_asked_within_reason(asked: str | None, seconds: int) -> None:
    allowance = FakeAllowance()
    head = [f"date: {DATE}", *([f"retry-after: {asked}"] if asked else [])]
    with (
        answering(http(429, {}, *head)) as line,
        calling(line, allowance) as client,
        pytest.raises(TryLater) as raised,
    ):
        client.item(EVENTS, "e1", operation="get_event")

    assert raised.value.after == timedelta(seconds=seconds)
    assert allowance.objections == [(OTHER, timedelta(seconds=seconds))]
    assert len(line.requests) == 1


def test_p14_a_bot_refused_for_good_is_not_asked_for_again_until_something_changes(
    world: World,
) -> None:
    a_calendar(world.db)
    refusal = http(400, {"meeting_url": ["Enter a valid meeting URL."]})
    with recall_says(world, a_page(a_row(**AHEAD)), refusal) as line:
        assert list_anew(world) is Outcome.FINISHED
        world.reconcile_all()
        world.reconcile_all()

    assert [asked.partition(" ")[0] for asked in line.asked] == ["GET", "POST"]
    assert world.told() == ["bot.failed"]
    assert world.slot()["parked_at"] is not None


def test_p12_one_bot_id_never_stands_in_two_slots(world: World) -> None:
    a_calendar(world.db)
    other = AHEAD | {"meeting_url": "https://zoom.us/j/89999999999"}

    def the_same_bot(request: bytes) -> bytes:
        if request.startswith(b"GET"):  # somebody looks whether it was made
            return http(200, {"results": [], "next": None})
        told = json.loads(request.partition(b"\r\n\r\n")[2])
        return http(201, a_bot(SEAT, metadata=told["metadata"], join_at=told["join_at"]))

    listing = a_page(a_row("event-1", **AHEAD), a_row("event-2", **other))
    with recall_says(world, listing, the_same_bot):
        assert list_anew(world) is Outcome.FINISHED
        for _ in range(3):
            world.hurry()
            try:
                world.reconcile_all()
            except IntegrityError:  # the turn is put off and says so
                continue

    assert world.count("slots", "bot_id = 'b1'") == 1
    assert world.count("slots", "bot_id IS NULL AND last_error IS NOT NULL") == 1


@pytest.mark.parametrize(
    "flood",
    [
        [f"set-cookie: c{n}={'x' * 50}; domain=127.0.0.1; path=/" for n in range(200)],
        [f"x-header-{n}: {n}" for n in range(1_000)],
        ["x-long: " + "x" * 60_000],
    ],
    ids=["P24 cookies", "P24 a thousand headers", "P24 one long header"],
)
def test_a_flood_of_headers_is_read_or_refused_and_leaves_no_cookie(flood: list[str]) -> None:
    answer = http(200, {"id": "e1"}, *flood)
    with answering(answer, http(200, {"id": "e1"})) as line, calling(line) as client:
        for _ in range(2):
            try:
                client.item(EVENTS, "e1", operation="get_event")
            except TryLater:
                continue

    assert not any(b"\r\ncookie:" in request.lower() for request in line.requests)
    assert len(line.requests) >= 2


@pytest.mark.parametrize("other", ["e2", None, 7, ""], ids="P25 {!r}".format)
def test_the_answer_to_another_question_is_none(other: object) -> None:
    with (
        answering(http(200, {"id": other, "bots": []})) as line,
        calling(line) as client,
        pytest.raises(TryLater, match="something else"),
    ):
        client.item(EVENTS, "e1", operation="get_event")
