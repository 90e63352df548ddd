"""Which events call for a bot, and why: the rule set and the decision. `deciding` applies them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from models.domain.links import PLATFORMS
from models.domain.rule_fields import StrictFields

SELECTORS = ("all", "external", "internal", "invited", "own")
DEFAULT_BOT_NAME = "Notetaker"
MAX_PARTICIPANTS = 100_000
MAX_MINUTES = 366 * 24 * 60
MAX_JOIN_EARLY_SECONDS = 3_600
_MAX_FAULTS = 50


class Reason(StrEnum):
    """Why an event has a bot or has none; a closed list that users rely on."""

    RECORDED = "recorded"
    OVERRIDE_RECORD = "override_record"
    OVERRIDE_SKIP = "override_skip"
    NO_RULE = "no_rule"
    NOT_SELECTED = "not_selected"
    NOT_ACCEPTED = "not_accepted"
    DECLINED = "declined"
    PARTICIPANTS = "participants"
    TITLE = "title"
    DOMAIN = "domain"
    PLATFORM = "platform"
    RECURRING = "recurring"
    PRIVATE = "private"
    DURATION = "duration"
    NO_LINK = "no_link"
    ALL_DAY = "all_day"
    ENDED = "ended"
    DELETED = "deleted"
    CANCELLED = "cancelled"
    DISCONNECTED = "disconnected"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class BotOptions:
    """How a bot presents itself; *config* goes to the bot provider as it is."""

    name: str = DEFAULT_BOT_NAME
    join_early_seconds: int = 0
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What to record. The default selects nothing; see the contract's rule table for each field."""

    select: frozenset[str] = frozenset()
    only_accepted: bool = False
    min_participants: int | None = None
    max_participants: int | None = None
    title_contains: tuple[str, ...] = ()
    title_excludes: tuple[str, ...] = ()
    domains_allow: tuple[str, ...] = ()
    domains_deny: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    recurring: str = "all"
    private: str = "record"
    min_minutes: float | None = None
    max_minutes: float | None = None
    dedup: str = "meeting"
    bot: BotOptions = field(default_factory=BotOptions)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an event calls for a bot, the reason from the closed list, and a sentence saying so."""

    wanted: bool
    reason: Reason
    explanation: str


class InvalidRules(ValueError):
    """A rule set nobody can follow; *faults* has one line each, starting with the field's path."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def rule_set(value: object) -> RuleSet:
    """
    Read the contract's rule set, missing fields by their defaults; nothing is guessed or converted.

    Words and domains come out in lower case, lists without repeats. Words are literal: no patterns,
    no templates.

    Raises:
        InvalidRules: with every fault there is (at most 50), not only the first.
    """
    top = StrictFields("", value)
    bot = StrictFields("bot", top.field("bot", {}))
    rules = RuleSet(
        select=frozenset(top.choices("select", SELECTORS)),
        only_accepted=top.flag("only_accepted"),
        min_participants=top.count_or_none("min_participants", MAX_PARTICIPANTS),
        max_participants=top.count_or_none("max_participants", MAX_PARTICIPANTS),
        title_contains=top.words("title_contains"),
        title_excludes=top.words("title_excludes"),
        domains_allow=top.domains("domains_allow"),
        domains_deny=top.domains("domains_deny"),
        platforms=top.choices("platforms", PLATFORMS),
        recurring=top.choice("recurring", ("all", "none", "first"), "all"),
        private=top.choice("private", ("record", "skip"), "record"),
        min_minutes=top.number("min_minutes", MAX_MINUTES),
        max_minutes=top.number("max_minutes", MAX_MINUTES),
        dedup=top.choice("dedup", ("meeting", "company", "calendar"), "meeting"),
        bot=BotOptions(
            name=bot.label("name", DEFAULT_BOT_NAME),
            join_early_seconds=bot.count("join_early_seconds", MAX_JOIN_EARLY_SECONDS),
            config=bot.json_object("config"),
        ),
    )
    top.in_order("min_participants", rules.min_participants, "max_participants", rules.max_participants)
    top.in_order("min_minutes", rules.min_minutes, "max_minutes", rules.max_minutes)
    if faults := top.faults() + bot.faults():
        raise InvalidRules(faults[:_MAX_FAULTS])
    return rules


def to_json(rules: RuleSet) -> dict[str, object]:
    """Write a rule set as the contract's object, every field said; rule_set reads it back equal."""
    return {
        "select": sorted(rules.select),
        "only_accepted": rules.only_accepted,
        "min_participants": rules.min_participants,
        "max_participants": rules.max_participants,
        "title_contains": list(rules.title_contains),
        "title_excludes": list(rules.title_excludes),
        "domains_allow": list(rules.domains_allow),
        "domains_deny": list(rules.domains_deny),
        "platforms": list(rules.platforms),
        "recurring": rules.recurring,
        "private": rules.private,
        "min_minutes": rules.min_minutes,
        "max_minutes": rules.max_minutes,
        "dedup": rules.dedup,
        "bot": {
            "name": rules.bot.name,
            "join_early_seconds": rules.bot.join_early_seconds,
            "config": copy.deepcopy(rules.bot.config),
        },
    }
