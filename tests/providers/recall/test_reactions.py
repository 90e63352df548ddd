"""Every answer of Recall has one reaction, and no reaction says what must not be said."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from tests.providers.recall.scripted import API_KEY, ok, saying
from worker.errors import (
    AlreadyGone,
    AuthorizationLost,
    ConfigError,
    Reaction,
    Refused,
    TooLate,
    TryLater,
)
from worker.http import build_client
from worker.providers.recall import RecallClient
from worker.providers.recall.client import BOTS, OTHER, Reply
from worker.providers.recall.reactions import RefusedBy, parse

SECRET = "sk-live-in-the-body"
HTML = httpx.Response(403, html=f"<h1>{SECRET}</h1>")


def coded(status: int, code: str, text: str = SECRET) -> httpx.Response:
    return ok({"code": code, "detail": text}, status)


def reaction_to(*answers: httpx.Response, path: str = f"{BOTS}b1/") -> Reaction:
    with saying(*answers) as recall, pytest.raises(Reaction) as raised:
        recall.client.ask("PATCH", path, operation="update_bot", budget=OTHER, body={"a": 1})
    return raised.value


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (coded(400, "teams_blacklisted_tenant"), RefusedBy),
        (coded(400, "update_bot_failed", "Not enough time to launch new bot"), RefusedBy),
        (coded(400, "x", "Cannot validate partial without join call task"), TooLate),
        (ok({"detail": ["Cannot validate partial without join call task"]}, 400), TooLate),
        (coded(400, "cannot_command_completed_bot"), AlreadyGone),
        (coded(400, "cannot_command_unstarted_bot"), TryLater),
        (ok({"join_at": ["Enter a valid date."]}, 400), RefusedBy),
        (ok(["a list"], 400), RefusedBy),
        (httpx.Response(400, html="<h1>Bad</h1>"), RefusedBy),
        (coded(401, "not_authenticated"), AuthorizationLost),
        (httpx.Response(401), AuthorizationLost),
        (httpx.Response(402), AuthorizationLost),
        (HTML, RefusedBy),
        (coded(403, "permission_denied"), AuthorizationLost),
        (coded(404, "not_found"), AlreadyGone),
        (httpx.Response(404), AlreadyGone),
        (httpx.Response(410), AlreadyGone),
        (httpx.Response(404, html="<h1>nginx</h1>"), TryLater),
        (coded(405, "method_not_allowed"), TooLate),
        (httpx.Response(408), TryLater),
        (httpx.Response(409), TryLater),
        (httpx.Response(413), RefusedBy),
        (httpx.Response(429), TryLater),
        (httpx.Response(301, headers={"location": "https://evil.test"}), TryLater),
        (httpx.Response(500), TryLater),
        (httpx.Response(502, html="<h1>Bad gateway</h1>"), TryLater),
        (httpx.Response(507), TryLater),
        (httpx.Response(599), TryLater),
    ],
)
def test_a_refusal_becomes_its_reaction(answer: httpx.Response, expected: type[Reaction]) -> None:
    assert type(reaction_to(answer)) is expected


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<h1>Welcome</h1>"),
        httpx.Response(200, content=b'{"id": "b1"'),
        httpx.Response(200, content=b'{"id": NaN}'),
        httpx.Response(200, content=b"\xff\xfe\xfd"),
        httpx.Response(200, content=b"[" * 100_000),
        httpx.Response(200, content=b'{"n": ' + b"9" * 5_000 + b"}"),
    ],
    ids=["html", "truncated", "nan", "no text", "deep", "long number"],
)
def test_a_success_that_is_no_json_is_an_unknown_outcome(answer: httpx.Response) -> None:
    reaction = reaction_to(answer)

    assert isinstance(reaction, TryLater)
    assert not reaction.is_definite


@pytest.mark.parametrize(
    ("status", "is_definite"), [(409, False), (429, True), (507, True), (500, False), (503, False)]
)
def test_only_a_call_that_was_turned_away_surely_did_nothing(
    status: int,
    is_definite: bool,
) -> None:
    reaction = reaction_to(httpx.Response(status))

    assert isinstance(reaction, TryLater)
    assert reaction.is_definite is is_definite


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("-5", 1),
        ("86400", 900),
        ("soon", 10),
        ("Sat, 21 Nov 2026 12:00:20 GMT", 20),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 1),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 900),
        (None, 10),
    ],
)
def test_a_throttled_call_waits_as_asked_within_reason(text: str | None, seconds: int) -> None:
    headers = {"date": "Sat, 21 Nov 2026 12:00:00 GMT"} | ({"retry-after": text} if text else {})
    with saying(httpx.Response(429, headers=headers)) as recall:
        with pytest.raises(TryLater) as raised:
            recall.client.ask("GET", BOTS, operation="list_bots", budget=OTHER)

        assert raised.value.after == timedelta(seconds=seconds)
        assert not raised.value.counts
        assert recall.allowance.objections == [(OTHER, timedelta(seconds=seconds))]


def test_an_empty_pool_is_asked_again_in_half_a_minute() -> None:
    empty, hinted = (
        reaction_to(httpx.Response(507)),
        reaction_to(httpx.Response(507, headers={"retry-after": "12"})),
    )

    assert isinstance(empty, TryLater)
    assert isinstance(hinted, TryLater)
    assert empty.after == timedelta(seconds=30)
    assert hinted.after == timedelta(seconds=12)


def test_a_command_too_early_is_repeated_soon_under_a_new_key() -> None:
    reaction = reaction_to(coded(400, "cannot_command_unstarted_bot"))

    assert isinstance(reaction, TryLater)
    assert reaction.after == timedelta(seconds=5)
    assert reaction.is_definite


def test_a_missing_collection_means_that_nothing_is_gone() -> None:
    reaction = reaction_to(coded(404, "not_found"), path=BOTS)

    assert type(reaction) is RefusedBy


def test_a_refusal_names_recalls_code() -> None:
    reaction = reaction_to(coded(400, "teams_blacklisted_tenant"))

    assert isinstance(reaction, RefusedBy)
    assert reaction.code == "teams_blacklisted_tenant"
    assert str(reaction) == "recall update_bot: 400 teams_blacklisted_tenant"


@pytest.mark.parametrize("code", [SECRET, "X" * 500, 7, None, ["a"], "a b\nc"])
def test_what_is_no_code_is_not_repeated(code: object) -> None:
    reaction = reaction_to(ok({"code": code}, 400))

    assert isinstance(reaction, RefusedBy)
    assert reaction.code is None
    assert str(reaction) == "recall update_bot: 400"


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 409, 429, 500, 507])
@pytest.mark.parametrize("shape", ["json", "html", "text"])
def test_no_message_holds_a_body_a_key_or_a_query(status: int, shape: str) -> None:
    answer = {
        "json": ok({"detail": SECRET, "errors": {"non_field_errors": [SECRET]}}, status),
        "html": httpx.Response(status, html=SECRET),
        "text": httpx.Response(status, text=SECRET),
    }[shape]

    with saying(answer) as recall, pytest.raises(Reaction) as raised:
        recall.client.ask("GET", BOTS, operation="list_bots", budget=OTHER, params={"q": SECRET})

    said = "".join(repr(link) + str(link) for link in _chain(raised.value))
    assert SECRET not in said
    assert API_KEY not in said
    assert "?" not in said


def test_the_client_does_not_show_its_key() -> None:
    with saying(ok({})) as recall:
        assert API_KEY not in repr(recall.client)


@pytest.mark.parametrize("key", ["", " ", "with\nnewline", "naïve"])
def test_a_key_that_no_header_can_carry_is_a_fault_in_the_settings(key: str) -> None:
    with build_client() as http, pytest.raises(ConfigError) as raised:
        RecallClient(base_url="https://r.test", api_key=key, http=http, allowance=None)  # type: ignore[arg-type]  # never asked

    assert not key.strip() or key not in str(raised.value)


def test_credentials_are_dropped_on_receipt() -> None:
    found = parse(b'{"id": "c", "oauth_client_secret": "s", "deep": [{"oauth_refresh_token": "t"}]}')

    assert found == {"id": "c", "deep": [{}]}
    assert "oauth" not in repr(Reply(found))


def test_a_call_is_authorised_and_counted_against_its_budget() -> None:
    with saying(ok({})) as recall:
        recall.client.ask("GET", BOTS, operation="list_bots", budget=OTHER)

        (request,) = recall.requests
        assert request.headers["authorization"] == f"Token {API_KEY}"
        assert request.url.path.endswith("/")
        assert recall.allowance.taken == {OTHER: 1}


def test_without_budget_nothing_is_asked() -> None:
    with saying(ok({})) as recall:
        recall.allowance.left[OTHER] = 0
        with pytest.raises(TryLater) as raised:
            recall.client.ask("POST", BOTS, operation="create_bot", budget=OTHER, body={})

        assert raised.value.is_definite
        assert recall.requests == []


def test_refused_is_what_a_use_case_catches() -> None:
    assert issubclass(RefusedBy, Refused)


def _chain(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
