"""
What a hostile or broken Recall may answer, word for word over a real connection, row by row.

The rows are numbered as follows; each test's id begins with the number of its row.

    P1  a page that is no JSON object       P15 401 and 403 about our key
    P2  a page without a list of rows       P16 404 about an event or a bot
    P3  a next page that is elsewhere       P17 405: the bot is on its way
    P4  rows without an id, or doubled      P18 409
    P5  versions missing or out of order    P19 429 with every form of Retry-After
    P6  times that are none                 P20 507: no bot is free
    P7  a link that comes, changes, goes    P21 redirects
    P8  links that lead astray              P22 certificates that prove nothing
    P9  deleted, back again, deleted twice  P23 bombs, floods and drips
    P10 text nobody can store               P24 a flood of headers and cookies
    P11 fields and words we do not know     P25 the answer to another question
    P12 a new bot without a name of its own P27 a bot list that is behind
    P13 another success than 201            P29 news of a bot before its own answer
    P14 a refusal for good                  P30 a `Date` that is wrong

P26 (token endpoints) concerns credentials that Recall holds here, so there is no such answer to read.
P28 (subscribers' answers) is tests/publishers/test_webhooks.py and tests/worker/test_posting.py.
"""

from __future__ import annotations

import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine, func, select, text
from tenacity import wait_none

from models.domain.bots import Standing
from models.domain.times import rfc3339
from models.sealing import Vault
from tests.builders import a_calendar
from tests.contracts.bots import HOUR
from tests.providers.recall.answering import Say, answering, dripping, endless, http
from tests.providers.recall.hostile import (
    AHEAD,
    BOMB,
    KINDS,
    OTHERS,
    SEAT,
    SOURCES,
    a_bot,
    a_page,
    a_row,
    calling,
    list_anew,
    provider_of,
    recall_says,
)
from tests.providers.recall.test_rows import ROW
from tests.worker.world import World
from worker import http as door
from worker.errors import TryLater
from worker.providers.recall.client import EVENTS, LIST
from worker.providers.recall.reactions import RefusedBy
from worker.sweeping import sweep_bots
from worker.turns import Outcome


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.http._backing_off", wait_none())


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    return World(db, vault)


# P1, P2, P3, P15, P18 to P21, P23: a listing that is none ---------------------------------------

ELSEWHERE = "https://evil.example/api/v2/calendar-events/?cursor=1"

NO_LISTINGS: dict[str, Say] = {
    "P1 html": http(200, b"<!doctype html><h1>Welcome</h1>", "content-type: text/html"),
    "P1 empty": http(200, b""),
    "P1 truncated in the middle of JSON": http(200, json.dumps({"results": [ROW]}).encode()[:-9]),
    "P1 truncated in the middle of the body": a_page(ROW)[:-40],
    "P1 null": http(200, None),
    "P1 list": http(200, [ROW]),
    "P1 number": http(200, 7),
    "P1 not even HTTP": b"\x16\x03\x01\x02\x00\x01",
    "P1 hung up": b"",
    "P2 no results": http(200, {"next": None}),
    "P2 results null": http(200, {"next": None, "results": None}),
    "P2 results a dict": http(200, {"next": None, "results": {"0": ROW}}),
    "P2 10,001 rows": http(200, {"next": None, "results": [0] * 10_001}),
    "P2 a million rows": http(200, b'{"next":null,"results":[' + b"0," * 999_999 + b"0]}"),
    "P3 other host": a_page(following=ELSEWHERE),
    "P3 file": a_page(following="file:///etc/passwd?cursor=1"),
    "P3 relative": a_page(following="?cursor=1"),
    "P3 no text": a_page(following={"cursor": 1}),
    "P15 401": http(401, {"code": "authentication_failed", "detail": "no"}),
    "P15 403": http(403, {"code": "permission_denied", "detail": "no"}),
    "P18 409": http(409, {"code": "conflict", "detail": "busy"}),
    "P19 429": http(429, {"code": "throttled", "detail": "slow"}, "retry-after: 30"),
    "P20 507": http(507, {"code": "x", "detail": "none"}),
    "P23 bomb": http(200, BOMB, "content-encoding: gzip"),
    "P23 a gigabyte": endless(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", b"x" * 65_536),
    "P23 endless chunks": endless(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    ),
}


@pytest.mark.parametrize("say", NO_LISTINGS.values(), ids=NO_LISTINGS)
def test_what_is_no_listing_moves_nothing_and_the_next_one_finds_everything(
    world: World, say: Say
) -> None:
    a_calendar(world.db)
    with recall_says(world, a_page(a_row("event-1"))):
        assert list_anew(world) is Outcome.FINISHED
    before = world.workspace()["cursor_at"]

    with recall_says(world, say):
        assert list_anew(world) is Outcome.PUT_OFF

    assert world.workspace()["cursor_at"] == before
    assert list(world.titles()) == ["event-1"]
    with recall_says(world, a_page(a_row("event-1"), a_row("event-2"))):
        assert list_anew(world) is Outcome.FINISHED
    assert sorted(world.titles()) == ["event-1", "event-2"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308], ids="P21 {}".format)
def test_a_redirect_takes_our_key_nowhere(world: World, status: int) -> None:
    a_calendar(world.db)
    with answering(a_page(a_row("planted"))) as evil:
        away = http(status, b"", f"location: {evil.url}{EVENTS}")
        with recall_says(world, away):
            assert list_anew(world) is Outcome.PUT_OFF

    assert evil.requests == []
    assert world.titles() == {}


@pytest.mark.parametrize(
    "following",
    ["{evil}" + EVENTS + "?cursor=1", "{evil}@127.0.0.1" + EVENTS + "?cursor=1"],
    ids=["P3 other port", "P3 host as user"],
)
def test_a_next_page_elsewhere_is_never_asked_for(world: World, following: str) -> None:
    a_calendar(world.db)
    with answering(a_page(a_row("planted"))) as evil:
        first = a_page(a_row("event-1"), following=following.format(evil=evil.url))
        with recall_says(world, first) as line:
            assert list_anew(world) is Outcome.PUT_OFF

    assert evil.requests == []
    assert len(line.requests) == 1


@pytest.mark.parametrize("length", [1, 3], ids=["P3 the same page", "P3 a circle of three"])
def test_a_circle_of_pages_ends(world: World, length: int) -> None:
    a_calendar(world.db)
    served: list[int] = []

    def page(request: bytes) -> bytes:
        host = request.lower().partition(b"host: ")[2].partition(b"\r\n")[0].decode()
        served.append(1)
        return a_page(following=f"http://{host}{EVENTS}?cursor=c{len(served) % length}")

    with recall_says(world, page):
        assert list_anew(world) is Outcome.PUT_OFF
    assert len(served) <= length + 1


def test_p3_ten_thousand_pages_are_not_read() -> None:
    served: list[int] = []

    def page(request: bytes) -> bytes:
        host = request.lower().partition(b"host: ")[2].partition(b"\r\n")[0].decode()
        served.append(1)
        return a_page(following=f"http://{host}{EVENTS}?cursor={len(served)}")

    with (
        answering(page) as line,
        calling(line) as client,
        pytest.raises(TryLater, match="more than 500 pages"),
    ):
        for _ in client.pages(EVENTS, operation="list_events", budget=LIST, params={}):
            pass
    assert len(served) == 500


def test_p15_a_key_that_is_not_accepted_is_not_burnt(world: World) -> None:
    a_calendar(world.db)
    with recall_says(world, http(401, {"code": "not_authenticated", "detail": "no"})) as line:
        list_anew(world)
        for _ in range(5):
            world.notify()
            world.list_changes()

    assert len(line.requests) == 1
    with world.db.begin() as tx:
        wait = tx.execute(select(SOURCES.c.due_at - func.now())).scalar_one()
    assert wait > timedelta(minutes=4)


def test_p23_an_answer_that_drips_ends_with_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "TOTAL_TIMEOUT_S", 0.4)
    for answer in (a_page(a_row()), b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 900):
        with (
            answering(dripping(answer, 0.02)) as line,
            calling(line) as client,
            pytest.raises(TryLater, match="ReadTimeout"),
        ):
            client.item(EVENTS, "event-1", operation="get_event")


# P22: certificates ---------------------------------------------------------------------------


def a_certificate(folder: Path, name: str, *, valid_until: timedelta) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + valid_until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "server.pem"
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


CERTIFICATES = {
    "P22 good": ("localhost", timedelta(days=1), True),
    "P22 expired": ("localhost", timedelta(days=-1), True),
    "P22 wrong host": ("api.recall.test", timedelta(days=1), True),
    "P22 self-signed": ("localhost", timedelta(days=1), False),
}


@pytest.mark.parametrize(("name", "valid_until", "is_trusted"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_certificate_that_proves_nothing_gets_no_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    valid_until: timedelta,
    *,
    is_trusted: bool,
) -> None:
    path, context = a_certificate(tmp_path, name, valid_until=valid_until)
    if is_trusted:
        trusting = ssl.create_default_context(cafile=str(path))
        monkeypatch.setattr("httpx.create_ssl_context", lambda **_: trusting)
    is_good = (name, is_trusted) == ("localhost", True) and valid_until > timedelta(0)

    with answering(http(200, {"id": "e1"}), tls=context) as line, calling(line) as client:
        if is_good:
            assert client.item(EVENTS, "e1", operation="get_event")["id"] == "e1"
        else:
            with pytest.raises(TryLater):
                client.item(EVENTS, "e1", operation="get_event")

    assert len(line.requests) == int(is_good)


# P27, P29, P30: time and order ------------------------------------------------------------------


def test_p27_a_list_that_still_shows_a_deleted_bot_does_no_harm(world: World) -> None:
    a_calendar(world.db)
    ghost = a_bot(OTHERS, id="ghost", join_at=rfc3339(world.at + HOUR))
    ghost["metadata"] = {
        "punctual_slot": str(OTHERS.slot_id),
        "punctual_install": str(world.rt.install_id),
    }

    def say(request: bytes) -> bytes:
        if request.startswith(b"DELETE"):
            return http(404, {"code": "not_found", "detail": "No Bot matches the given query."})
        return http(200, {"next": None, "results": [ghost]})

    with recall_says(world, say) as line:
        assert sweep_bots(world.rt) == 1

    assert sum(asked.startswith("DELETE") for asked in line.asked) == 1
    assert world.told() == []


def test_p27_a_list_that_does_not_show_a_new_bot_yet_makes_no_second_one(world: World) -> None:
    a_calendar(world.db)
    made: list[dict[str, Any]] = []

    def say(request: bytes) -> bytes:
        if request.startswith(b"POST"):
            told = json.loads(request.partition(b"\r\n\r\n")[2])
            made.append(a_bot(SEAT, metadata=told["metadata"], join_at=told["join_at"]))
            return http(201, made[-1])
        return http(200, {"next": None, "results": []})

    with recall_says(world, a_page(a_row(**AHEAD)), say):
        assert list_anew(world) is Outcome.FINISHED
        world.reconcile_all()
        object.__setattr__(world.rt, "now", lambda: datetime.now(UTC))
        sweep_bots(world.rt)
        object.__setattr__(world.rt, "now", lambda: world.at)
        world.reconcile_all()

    assert len(made) == 1
    assert world.slot()["bot_id"] == "b1"


def test_p29_news_of_a_bot_before_its_own_answer_is_kept(world: World) -> None:
    a_calendar(world.db)

    def say(request: bytes) -> bytes:
        if not request.startswith(b"POST"):
            return http(200, {"next": None, "results": []})
        world.hear_of_bot("b1", "joining_call")
        told = json.loads(request.partition(b"\r\n\r\n")[2])
        return http(201, a_bot(SEAT, metadata=told["metadata"], join_at=told["join_at"]))

    with recall_says(world, a_page(a_row(**AHEAD)), say):
        assert list_anew(world) is Outcome.FINISHED
        world.reconcile_all()
        assert world.slot()["bot_state"] == "scheduled"
        with world.db.begin() as tx:
            tx.execute(text("UPDATE deliveries SET received_at = received_at - interval '5 minutes'"))
        world.hear_of_bot("unknown", "done")

    assert world.slot()["bot_state"] == "joining"


@pytest.mark.parametrize("minutes", [-10, 10], ids="P30 {} min".format)
def test_a_wrong_date_on_answers_loses_no_change_that_slipped_between_pages(
    world: World, minutes: int
) -> None:
    a_calendar(world.db)
    dated = f"date: {format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)}"
    slipped: list[str] = []

    def first(request: bytes) -> bytes:
        host = request.lower().partition(b"host: ")[2].partition(b"\r\n")[0].decode()
        return a_page(head=(dated,), following=f"http://{host}{EVENTS}?cursor=2")

    def second(_request: bytes) -> bytes:
        # While we wait, one change slips to the page already read, and a later one to this page.
        slipped.append(rfc3339(datetime.now(UTC)))
        time.sleep(3)
        return a_page(a_row("seen"), head=(dated,))

    with recall_says(world, first, second):
        assert list_anew(world) is Outcome.FINISHED
    with recall_says(world, a_page(a_row("slipped", updated_at=slipped[0]), head=(dated,))) as line:
        assert list_anew(world) is Outcome.FINISHED

    since = line.asked[0].partition("updated_at__gte=")[2].partition("&")[0].partition(" ")[0]
    assert since.replace("%3A", ":") <= slipped[0]
    assert sorted(world.titles()) == ["seen", "slipped"]


def test_managed_and_own_bots_are_looked_for_over_the_same_line() -> None:
    for kind in KINDS:
        with answering(http(404, {"code": "not_found"})) as line, calling(line) as client:
            if kind == "managed":
                assert provider_of(client, kind).look(SEAT.slot_id, SEAT, Standing()).bot_id is None
            else:
                with pytest.raises(RefusedBy):
                    provider_of(client, kind).look(SEAT.slot_id, SEAT, Standing())
