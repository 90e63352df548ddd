"""
Pages and the tokens that lead on: page tokens into a frozen list, sync tokens from a revision on.

Source: developers.google.com/workspace/calendar/api/guides/sync and …/guides/pagination.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.world import World
from worker.sandbox.recall.forms import Json

KEPT_LISTINGS = 256


@dataclass(frozen=True, slots=True)
class SyncToken:
    """What a sync token says: *subject* was seen up to *revision*, under *parameters*."""

    subject: str
    account: str
    revision: int
    issued_s: float
    parameters: Json = field(default_factory=dict)

    def text(self) -> str:
        return _packed(asdict(self))

    @classmethod
    def read(cls, text: str) -> SyncToken:
        """Raises ValueError: no sync token of ours."""
        facts = _unpacked(text)
        try:
            return cls(**facts)
        except TypeError as error:
            raise ValueError("no sync token") from error


@dataclass(frozen=True, slots=True)
class Frozen:
    """A list as it was when its first page was asked for; *question* has to stay the same."""

    question: str
    entries: tuple[object, ...]
    sync_token: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    entries: tuple[object, ...]
    facts: Json  # nextPageToken or nextSyncToken


def read_token(world: World, text: str, subject: str, account_id: str) -> SyncToken:
    """
    Return the sync token if it may still be used.

    Raises:
        Refusal: 400 for what is none or another list's, 410 for what is too old.
    """
    try:
        token = SyncToken.read(text)
    except ValueError as error:
        if world.switches.garbage_token_is_gone:
            raise gone() from error
        raise Refusal("invalid", "Invalid sync token value.", location="syncToken") from error
    if token.subject != subject or token.account != account_id:
        raise Refusal("invalid", "Invalid sync token value.", location="syncToken")
    age = timedelta(seconds=world.now().timestamp() - token.issued_s)
    if age > timedelta(days=world.limits.token_life_days):
        raise gone()
    return token


def gone() -> Refusal:
    """Build the 410 that asks for a full sync."""
    return Refusal("fullSyncRequired", location="syncToken")


def first_page(world: World, frozen: Frozen, size: int) -> Page:
    """Freeze a list and cut its first page."""
    listing_id = f"{world.next_count():x}"
    page, last = _cut(world, frozen, listing_id, 0, size)
    if not last:
        world.listings[listing_id] = frozen
        while len(world.listings) > KEPT_LISTINGS:
            del world.listings[next(iter(world.listings))]
    return page


def next_page(world: World, token: str, question: str, size: int) -> Page:
    """
    Cut the page that *token* leads to.

    Raises:
        Refusal: no page token, an old one, or another question than the first page's.
    """
    try:
        facts = _unpacked(token)
        frozen = world.listings[str(facts["listing"])]
        offset = int(facts["offset"])
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal("invalid", "Invalid page token value.", location="pageToken") from error
    assert isinstance(frozen, Frozen)
    if frozen.question != question:
        raise Refusal("invalid", "Invalid page token value.", location="pageToken")
    return _cut(world, frozen, str(facts["listing"]), offset, size)[0]


def _cut(world: World, frozen: Frozen, listing_id: str, offset: int, size: int) -> tuple[Page, bool]:
    """Return a page and whether it is the last; pages may be shorter than asked for, and empty."""
    if size > 1 and world.limits.page_shortfall and world.chance.random() < world.limits.page_shortfall:
        size = world.chance.randrange(size)
    entries: Sequence[object] = frozen.entries[offset : offset + size]
    after = offset + len(entries)
    if after < len(frozen.entries):
        # A page may have been empty: what leads on is another token all the same.
        position = {"listing": listing_id, "offset": after, "page": world.next_count()}
        return Page(tuple(entries), {"nextPageToken": _packed(position)}), False
    facts = {"nextSyncToken": frozen.sync_token} if frozen.sync_token else {}
    return Page(tuple(entries), facts), True


def _packed(facts: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(facts, separators=(",", ":")).encode()).decode()


def _unpacked(text: str) -> Json:
    """Raises ValueError: not what `_packed` made."""
    try:
        facts = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("no token") from error
    if not isinstance(facts, dict):
        raise ValueError("no token")  # noqa: TRY004  # the text is wrong, not a type
    return facts
