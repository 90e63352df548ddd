"""
What each of Recall's answers means for us, in one place.

Messages name the operation, the status and Recall's own code; never a body, a token or a URL.

Source: docs.recall.ai, errors (status codes, bot error codes); unlisted statuses as HTTP has them.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import NoReturn

from worker.errors import (
    AlreadyGone,
    AuthorizationLost,
    Reaction,
    Refused,
    TooLate,
    TryLater,
)
from worker.http import Answer

SHORTEST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=15)
THROTTLED_WAIT = timedelta(seconds=10)  # 429 without a usable Retry-After
CONFLICT_WAIT = timedelta(seconds=2)  # the same key still runs, or a neighbour's dedup key
POOL_WAIT = timedelta(seconds=30)  # docs.recall.ai, errors: retry an empty pool every 30 s
UNSTARTED_WAIT = timedelta(seconds=5)

#: Never leaves this module: Recall shows a calendar's credentials in its answers.
#: Source: Recall's OpenAPI, schema Calendar (neither is marked write-only).
SECRET_FIELDS = frozenset({"oauth_client_secret", "oauth_refresh_token"})

_CODE = re.compile(r"[a-z][a-z0-9_]{0,59}")
_KEY_CODES = frozenset({"not_authenticated", "authentication_failed", "permission_denied"})
_SENT_TO_CALL = "cannot validate partial without join call task"


class RefusedBy(Refused):
    """A refusal with Recall's code for it, None when it gave none."""

    def __init__(self, what: str, code: str | None) -> None:
        super().__init__(what)
        self.code = code


def parse(body: bytes) -> object:
    """
    Read JSON, leaving out the fields that hold credentials; ValueError for anything else.

    NaN and the like are no JSON.
    """
    try:
        return json.loads(body, object_pairs_hook=_without_secrets, parse_constant=_no_number)
    except RecursionError as too_deep:
        msg = "nested too deeply"
        raise ValueError(msg) from too_deep


def value_of(answer: Answer, operation: str, *, is_item: bool) -> object:
    """
    Return what a 2xx answer says (None without a body); raise the reaction to any other.

    *is_item* says that the call was about one thing by its id, so that 404 means it is gone.
    """
    if not 200 <= answer.status < 300:
        raise _reaction(answer, operation, is_item=is_item)
    if not answer.body.strip():
        return None
    try:
        return parse(answer.body)
    except ValueError:  # its text quotes the body
        unreadable(operation, "not JSON")


def unreadable(operation: str, what: str) -> NoReturn:
    """Say that a 2xx answer makes no sense: whatever was asked for may have been done."""
    msg = f"recall {operation}: the answer is {what}"
    raise TryLater(msg) from None


def throttle_wait(answer: Answer) -> timedelta:
    """How long a 429 keeps us away: what it asks for, within 1 s to 15 min."""
    return _asked_wait(answer, THROTTLED_WAIT)


def _reaction(answer: Answer, operation: str, *, is_item: bool) -> Reaction:
    status = answer.status
    code, says = _complaint(answer.body)
    what = f"recall {operation}: {status}" + (f" {code}" if code else "")
    surely_nothing = not answer.is_doubtful
    match status:
        case 400:
            return _bad_request(what, code, says)
        case 401:
            return AuthorizationLost(f"{what}: the API key is not accepted (wrong key or region)")
        case 402:
            return AuthorizationLost(f"{what}: the workspace's credit is used up")
        case 403 if code in _KEY_CODES:
            return AuthorizationLost(f"{what}: the API key may not do this")
        case 403:
            return RefusedBy(f"{what}: blocked before it reached the API", code)
        case 404 | 410 if is_item and says is not None:
            return AlreadyGone(f"{what}: not there any more")
        case 404 | 410 if says is not None:
            return RefusedBy(f"{what}: no such endpoint (the base URL is wrong)", code)
        case 404 | 410:
            # A page instead of JSON is a proxy's word, and no proof that anything is gone.
            return TryLater(f"{what}: answered by something else than the API")
        case 405:
            return TooLate(f"{what}: the bot has been dispatched")
        case 409:
            return TryLater(what, after=_asked_wait(answer, CONFLICT_WAIT))
        case 429:
            return TryLater(what, after=throttle_wait(answer), counts=False, is_definite=surely_nothing)
        case 507:
            wait = _asked_wait(answer, POOL_WAIT)
            return TryLater(f"{what}: no bot is free", after=wait, is_definite=surely_nothing)
        case 408 | 425:
            return TryLater(what)
        case _ if 400 <= status < 500:
            return RefusedBy(what, code)
        case _:
            has_hint = answer.retry_after is not None
            return TryLater(what, after=_asked_wait(answer, SHORTEST_WAIT) if has_hint else None)


def _bad_request(what: str, code: str | None, says: str | None) -> Reaction:
    match code:
        case "cannot_command_completed_bot":
            return AlreadyGone(f"{what}: the bot has left")
        case "cannot_command_unstarted_bot":
            return TryLater(what, after=UNSTARTED_WAIT, is_definite=True)
        case _ if says is not None and _SENT_TO_CALL in says:
            return TooLate(f"{what}: the bot has been dispatched")
        case _:
            return RefusedBy(what, code)


def _complaint(body: bytes) -> tuple[str | None, str | None]:
    """
    Return Recall's code and all it says in lower case; both None when the body is no JSON object.

    There are four shapes: code and detail, code and message, an envelope with `errors`, and a map of
    fields to messages. All of them are read as one text.
    """
    try:
        found = parse(body) if body.strip() else {}
    except ValueError:
        return None, None
    if not isinstance(found, dict):
        return None, None
    code = found.get("code")
    says = json.dumps(found).lower()
    if isinstance(code, str) and _CODE.fullmatch(code):
        return code, says
    return None, says


def _without_secrets(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in pairs if name not in SECRET_FIELDS}


def _no_number(_name: str) -> NoReturn:
    msg = "not a number"
    raise ValueError(msg)


def _asked_wait(answer: Answer, otherwise: timedelta) -> timedelta:
    asked = answer.retry_after
    return min(max(otherwise if asked is None else asked, SHORTEST_WAIT), LONGEST_WAIT)
