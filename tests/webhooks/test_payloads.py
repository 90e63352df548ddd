"""Bodies: what is understood, what is ignored, and everything that has to be set aside."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.webhooks.sending import (
    BOT,
    CALENDAR,
    bot_status,
    calendar_update,
    legacy_bot_status,
    sync_events,
)
from webhooks import payloads
from webhooks.payloads import (
    BotChanged,
    CalendarUpdated,
    EventsChanged,
    Fault,
    Unknown,
    Unusable,
    parse,
    read_json,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
storable_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


OF_OTHER_TYPES: tuple[object, ...] = (1, ["x"], {"a": 1}, None, True)


OF_NO_TYPE: tuple[object, ...] = (
    None,
    "",
    "x" * 10_240,
    "Calendar.Update",
    1,
    [],
    "calendar",
    "a..b",
    "calendar.update\n",
)


def fault_of(body: bytes) -> Fault:
    """Parse a body that has to be unusable; why is returned."""
    with pytest.raises(Unusable) as caught:
        parse(body)
    return caught.value.fault


def test_a_changed_calendar_is_recognised() -> None:
    assert parse(calendar_update()) == CalendarUpdated("calendar.update", CALENDAR)


def test_changed_events_are_recognised() -> None:
    assert parse(sync_events()) == EventsChanged("calendar.sync_events", CALENDAR)


def test_a_bot_status_says_what_and_when() -> None:
    found = parse(bot_status("fatal", sub_code="bot_errored"))

    at = datetime(2025, 1, 29, 23, 49, 58, 570998, tzinfo=UTC)
    assert found == BotChanged("bot.fatal", BOT, "fatal", "bot_errored", at, {})


def test_the_older_shape_of_a_bot_status_says_the_same() -> None:
    found = parse(legacy_bot_status("done"))

    at = datetime(2025, 1, 29, 23, 49, 58, tzinfo=UTC)
    assert found == BotChanged("bot.status_change", BOT, "done", None, at, {})


def test_a_status_nobody_has_documented_is_still_a_status() -> None:
    found = parse(bot_status("levitating"))

    assert isinstance(found, BotChanged)
    assert found.code == "levitating"


@pytest.mark.parametrize(
    "at", [None, 0, "", "infinity", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z"]
)
def test_a_bot_status_without_a_sensible_time_is_still_one(at: object) -> None:
    found = parse(bot_status(updated_at=at))

    assert isinstance(found, BotChanged)
    assert found.changed_at is None


def test_metadata_of_a_bot_is_kept() -> None:
    body = json.loads(bot_status())
    body["data"]["bot"]["metadata"] = {"slot": "x"}

    found = parse(json.dumps(body).encode())

    assert isinstance(found, BotChanged)
    assert found.metadata == {"slot": "x"}


def test_an_id_in_capitals_is_the_same_id() -> None:
    assert parse(sync_events(CALENDAR.upper())) == parse(sync_events(CALENDAR))


@pytest.mark.parametrize(
    "kind",
    [
        "calendar.foo",
        "recording.done",
        "transcript.failed",
        "bot.log",
        "bot.output_log",
        "sdk_upload.done",
    ],
)
def test_a_type_we_have_no_use_for_is_unknown_not_unusable(kind: str) -> None:
    body = json.dumps({"event": kind, "data": {"bot_id": BOT, "log": {}}}).encode()

    assert parse(body) == Unknown(kind)


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        "",
        "2026-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+23:59:59",
        "2026-01-01T00:00:00z",
        "2026-01-01T00:00:00.123456789Z",
        "infinity",
        "2026-W01-1",
        "2036-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        {"a": []},
    ],
    ids=lambda value: f"R54 {value!r}",
)
def test_the_time_a_nudge_carries_is_not_looked_at(value: object) -> None:
    assert parse(sync_events(last_updated_ts=value)) == EventsChanged("calendar.sync_events", CALENDAR)


def test_fields_we_do_not_know_are_no_obstacle() -> None:
    deep: object = 1
    for _ in range(20):
        deep = {"deeper": [deep]} if not isinstance(deep, dict) else [deep]

    assert isinstance(parse(sync_events(more=[], deep=deep)), EventsChanged)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(b"", Fault.NOT_JSON, id="R31 empty"),
        pytest.param(b"null", Fault.NOT_AN_OBJECT, id="R32 null"),
        pytest.param(b"[]", Fault.NOT_AN_OBJECT, id="R32 list"),
        pytest.param(b'"x"', Fault.NOT_AN_OBJECT, id="R32 string"),
        pytest.param(b"1", Fault.NOT_AN_OBJECT, id="R32 number"),
        pytest.param(b"true", Fault.NOT_AN_OBJECT, id="R32 true"),
        pytest.param(sync_events()[:-3], Fault.NOT_JSON, id="R33 truncated"),
        pytest.param(sync_events() + b"x", Fault.NOT_JSON, id="R34 trailing garbage"),
        pytest.param(sync_events() + sync_events(), Fault.NOT_JSON, id="R34 two documents"),
        pytest.param(sync_events() + b"//comment", Fault.NOT_JSON, id="R34 comment"),
        pytest.param(sync_events().replace(b'"', b"'"), Fault.NOT_JSON, id="R34 single quotes"),
        pytest.param(b"\xef\xbb\xbf" + sync_events(), Fault.NOT_JSON, id="R35 byte order mark"),
        pytest.param(sync_events().decode().encode("utf-16"), Fault.NOT_UTF8, id="R36 UTF-16"),
        pytest.param(
            sync_events().decode().encode("utf-16-le"), Fault.NOT_JSON, id="R36 UTF-16 without mark"
        ),
        pytest.param(sync_events(x="?").replace(b"?", b"\xff"), Fault.NOT_UTF8, id="R37 not UTF-8"),
        pytest.param(sync_events(x="?").replace(b"?", b"\xc0\xaf"), Fault.NOT_UTF8, id="R38 overlong"),
        pytest.param(
            b'{"event":"calendar.sync_events","event":"calendar.update"}', Fault.DUPLICATE_KEY, id="R39"
        ),
        pytest.param(
            b'{"event":"calendar.update","data":{"calendar_id":"a","calendar_id":"b"}}',
            Fault.DUPLICATE_KEY,
            id="R40",
        ),
        pytest.param(sync_events().replace(b'"2025', b'NaN,"b":"2025'), Fault.BAD_NUMBER, id="R41 NaN"),
        pytest.param(sync_events(x=float("-inf")), Fault.BAD_NUMBER, id="R41 -Infinity"),
        pytest.param(sync_events(x=0).replace(b": 0", b": 1e400"), Fault.BAD_NUMBER, id="R41 1e400"),
        pytest.param(sync_events(x=0).replace(b": 0", b": -1e400"), Fault.BAD_NUMBER, id="R41 -1e400"),
        pytest.param(sync_events(x=0).replace(b": 0", b": " + b"9" * 5000), Fault.BAD_NUMBER, id="R42"),
        pytest.param(b"[" * 1_000, Fault.TOO_DEEP, id="R43 1,000 deep"),
        pytest.param(b"[" * 100_000, Fault.TOO_DEEP, id="R43 100,000 deep"),
        pytest.param(b'{"a":' * 40_000, Fault.TOO_DEEP, id="R44 objects"),
        pytest.param(b'{"a":' * 33 + b"1" + b"}" * 33, Fault.TOO_DEEP, id="33 deep"),
        pytest.param(b'{"a":' * 32 + b"1" + b"}" * 32, Fault.BAD_TYPE, id="32 deep is fine"),
        pytest.param(
            json.dumps(["[" * 99]).encode(),
            Fault.NOT_AN_OBJECT,
            id="brackets in a string are not depth",
        ),
        pytest.param(
            json.dumps(['"[' * 99]).encode(), Fault.NOT_AN_OBJECT, id="nor after an escaped quote"
        ),
        pytest.param(sync_events(CALENDAR + "\0"), Fault.BAD_CHARACTERS, id="R45 NUL"),
        pytest.param(sync_events(x="\0"), Fault.BAD_CHARACTERS, id="R45 NUL elsewhere"),
        pytest.param(sync_events(**{"\0": 1}), Fault.BAD_CHARACTERS, id="R45 NUL in a name"),
        pytest.param(sync_events(x="\ud800"), Fault.BAD_CHARACTERS, id="R45 lone surrogate"),
        pytest.param(sync_events(x="?").replace(b"?", b"\0"), Fault.NOT_JSON, id="R45 bare NUL"),
        pytest.param(sync_events("\u202e" + CALENDAR), Fault.BAD_ID, id="R46 right-to-left override"),
        pytest.param(sync_events(CALENDAR + "\u200b"), Fault.BAD_ID, id="R46 zero width"),
        pytest.param(sync_events(CALENDAR.replace("a", "а")), Fault.BAD_ID, id="R46 Cyrillic"),
        pytest.param(sync_events("🗓"), Fault.BAD_ID, id="R46 emoji"),
        *[
            pytest.param(sync_events(wrong), Fault.BAD_ID, id=f"R47 {wrong!r}")
            for wrong in OF_OTHER_TYPES
        ],
        *[
            pytest.param(sync_events(wrong), Fault.BAD_ID, id=f"R48 {wrong[:12]!r}")
            for wrong in (
                "not-a-uuid",
                "x" * 10_000,
                "../../x",
                f"{CALENDAR}?a=b",
                "%2e%2e",
                "",
                CALENDAR.replace("-", ""),
                f"{{{CALENDAR}}}",
                f"urn:uuid:{CALENDAR}",
                f"{CALENDAR}\n",
                "٠" * 8 + CALENDAR[8:],
            )
        ],
        *[
            pytest.param(
                json.dumps({"event": kind, "data": {}}).encode(),
                Fault.BAD_TYPE,
                id=f"R52 {kind!r:.20}",
            )
            for kind in OF_NO_TYPE
        ],
        pytest.param(b'{"data":{}}', Fault.BAD_TYPE, id="R52 missing"),
        pytest.param(b'{"event":"calendar.update"}', Fault.BAD_SHAPE, id="no data"),
        pytest.param(b'{"event":"calendar.update","data":[]}', Fault.BAD_SHAPE, id="data is a list"),
        pytest.param(b'{"event":"calendar.update","data":{}}', Fault.BAD_ID, id="no calendar"),
        pytest.param(
            b'{"event":"bot.done","data":{"data":{"code":"done"}}}', Fault.BAD_SHAPE, id="no bot"
        ),
        pytest.param(bot_status(bot="x"), Fault.BAD_ID, id="bot is no UUID"),
        pytest.param(
            bot_status().replace(b'"code": "joining_call", ', b""), Fault.BAD_SHAPE, id="no code"
        ),
        pytest.param(legacy_bot_status(bot=None), Fault.BAD_ID, id="older shape without a bot"),
    ],
)
def test_what_cannot_be_used_says_why(body: bytes, fault: Fault) -> None:
    assert fault_of(body) is fault


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{" + b",".join(b'"%d":1' % n for n in range(25_000)) + b"}", id="R44 many keys"),
        pytest.param(b"[" + b"1," * 100_000 + b"1]", id="R44 a long list"),
        pytest.param(b"[" + b"[]," * 40 + b'"' + b'\\"' * 120_000, id="a string that never ends"),
        pytest.param(b"[" + b'"\\u00e9",' * 25_000 + b"1]", id="many escapes"),
        pytest.param(b'"' * 250_000, id="only quotes"),
        pytest.param(b"[[[" + b"9" * 4_000 + b"]" * 200_000, id="a long number"),
    ],
)
def test_nothing_takes_long(body: bytes) -> None:
    began = time.thread_time()

    fault_of(body)

    # Anything worse than linear takes minutes; what linear takes depends on who else is on the machine.
    assert time.thread_time() - began < 2


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_unusable(body: bytes) -> None:
    with suppress(Unusable):
        parse(body)


@given(json_values)
def test_any_json_is_read_or_unusable(value: object) -> None:
    with suppress(Unusable):
        parse(json.dumps(value).encode())


@given(storable_values, st.booleans())
def test_strict_json_reads_what_was_written(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()

    assert read_json(body) == value


@given(
    st.sampled_from(["calendar.update", "calendar.sync_events", "bot.done", "bot.status_change"]),
    json_values,
)
def test_a_known_type_with_any_data_is_read_or_unusable(kind: str, data: object) -> None:
    try:
        found = parse(json.dumps({"event": kind, "data": data}).encode())
    except Unusable:
        return
    assert found.type == kind


@given(st.from_regex(payloads._USUAL, fullmatch=True))
def test_the_usual_form_means_what_it_means_read_strictly(body: bytes) -> None:
    assert parse(body) == payloads._parse_any(body)


_REF = "5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f001"


def test_what_recall_sends_has_the_usual_form() -> None:
    sent = {"calendar_id": _REF, "last_updated_ts": "2025-01-29T23:49:58.570998+00:00"}
    for body in (
        json.dumps({"event": "calendar.sync_events", "data": sent}),
        json.dumps({"event": "calendar.sync_events", "data": sent}, separators=(",", ":")),
        json.dumps({"event": "calendar.update", "data": {"calendar_id": _REF}}),
    ):
        assert payloads._USUAL.fullmatch(body.encode())
