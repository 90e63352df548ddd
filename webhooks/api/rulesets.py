"""The rule set as documented; `models.domain.rules` is what reads it, and a test keeps the two together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from models.domain.links import PLATFORMS
from models.domain.rule_fields import MAX_LIST_ENTRIES, MAX_NAME_CHARS, MAX_WORD_CHARS
from models.domain.rules import MAX_JOIN_EARLY_SECONDS, MAX_MINUTES, MAX_PARTICIPANTS
from webhooks.api.shapes import Shape

_Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD_CHARS)]
_Words = Annotated[list[_Word], Field(max_length=MAX_LIST_ENTRIES)]
_People = Annotated[int, Field(ge=0, le=MAX_PARTICIPANTS)] | None
_Minutes = Annotated[float, Field(ge=0, le=MAX_MINUTES)] | None


class BotShape(Shape):
    """How the bot presents itself."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)] = "Notetaker"
    join_early_seconds: Annotated[int, Field(ge=0, le=MAX_JOIN_EARLY_SECONDS)] = 0
    config: Annotated[
        dict[str, Any], Field(description="Goes to the bot provider as it is, up to 64 KiB.")
    ] = Field(default={})


class RuleSetShape(Shape):
    """What to record. `select` is a union; every other field narrows it. Nothing is selected by default."""

    select: Annotated[
        list[Literal["all", "external", "internal", "own", "invited"]],
        Field(max_length=MAX_LIST_ENTRIES),
    ] = Field(default=[])
    only_accepted: bool = False
    min_participants: _People = None
    max_participants: _People = None
    title_contains: _Words = Field(default=[])
    title_excludes: _Words = Field(default=[])
    domains_allow: _Words = Field(default=[])
    domains_deny: _Words = Field(default=[])
    platforms: Annotated[
        list[Annotated[str, Field(json_schema_extra={"enum": sorted(PLATFORMS)})]],
        Field(max_length=MAX_LIST_ENTRIES),
    ] = Field(default=[])
    recurring: Annotated[
        Literal["all", "none", "first"], Field(description="Which occurrences of a series.")
    ] = "all"
    private: Literal["record", "skip"] = "record"
    min_minutes: _Minutes = None
    max_minutes: _Minutes = None
    dedup: Annotated[
        Literal["meeting", "company", "calendar"],
        Field(description="One bot per meeting link and start; or per e-mail domain; or per calendar."),
    ] = "meeting"
    bot: BotShape = BotShape()


class RuleSetBody(RootModel[Any]):
    """A bare rule set, read by the rules themselves."""
