"""
Whether an event calls for a bot: a pure function of the event, the rules and what people overrode.

The order of the questions is the order of certainty. What makes a bot impossible comes first, then
the operator's pause, then what somebody said about this very event, then what rules never choose,
then the rules: what they select, and what narrows the selection, in the contract's order.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from models.domain.events import Event, EventStatus, Response
from models.domain.rules import Decision, Reason, RuleSet
from models.domain.times import TimeSpan


@dataclass(frozen=True, slots=True)
class CalendarFacts:
    """What a decision needs to know of the event's calendar; *email* is its user's address."""

    email: str | None
    disconnected: bool
    paused: bool = False


def decide(
    event: Event,
    rules: RuleSet,
    *,
    calendar: CalendarFacts,
    override: bool | None,
    series_override: bool | None,
    is_first_upcoming: bool,
    now: datetime,
) -> Decision:
    """
    Decide whether *event* calls for a bot, and say why.

    *override* is what somebody said about this occurrence, *series_override* about its series: True
    to record, False to skip. *is_first_upcoming* says that no known occurrence of the series comes
    before this one. *now* only tells whether the event has ended.
    """
    said = series_override if override is None else override
    if refusal := _impossible(event, calendar, now):
        return refusal
    if calendar.paused:
        return _no(Reason.PAUSED, "Recording is paused for this calendar.")
    if said is not None:
        return _as_told(record=said, whole_series=override is None)
    return (
        _never_by_rule(event)
        or _not_selected(event, rules, calendar)
        or next(_narrowed_out(event, rules, is_first_upcoming=is_first_upcoming), None)
        or _chosen(event, rules, calendar)
    )


def selectors_of(event: Event, calendar: CalendarFacts) -> frozenset[str]:
    """
    Name every selector that covers *event*; each event is external or internal.

    An event is `invited` when somebody else is known to be on it and its user does not organise.
    """
    named = {"all", "external" if _is_external(event, calendar) else "internal"}
    if event.is_organizer:
        named.add("own")
    elif event.organizer or any(not guest.is_self for guest in event.attendees):
        named.add("invited")
    return frozenset(named)


def _impossible(event: Event, calendar: CalendarFacts, now: datetime) -> Decision | None:
    if event.deleted:
        return _no(Reason.DELETED, "The event is no longer in the calendar.")
    if event.status is EventStatus.CANCELLED:
        return _no(Reason.CANCELLED, "The event is cancelled.")
    if calendar.disconnected:
        return _no(Reason.DISCONNECTED, "The calendar is disconnected.")
    if event.end <= now:
        return _no(Reason.ENDED, "The event has ended.")
    if event.link is None:
        return _no(Reason.NO_LINK, "The event has no link to a meeting of a known platform.")
    return None


def _as_told(*, record: bool, whole_series: bool) -> Decision:
    what = "series" if whole_series else "event"
    if record:
        return Decision(True, Reason.OVERRIDE_RECORD, f"Somebody asked to record this {what}.")
    return _no(Reason.OVERRIDE_SKIP, f"Somebody asked not to record this {what}.")


def _never_by_rule(event: Event) -> Decision | None:
    if event.own_response is Response.DECLINED:
        return _no(Reason.DECLINED, "The calendar's user declined, and nobody asked to record it.")
    if event.all_day:
        return _no(Reason.ALL_DAY, "The event lasts all day, and nobody asked to record it.")
    return None


def _not_selected(event: Event, rules: RuleSet, calendar: CalendarFacts) -> Decision | None:
    if not rules.select:
        return _no(Reason.NO_RULE, "The rules select nothing yet.")
    covered = selectors_of(event, calendar)
    if covered.isdisjoint(rules.select):
        return _no(
            Reason.NOT_SELECTED,
            f"The rules select {_listed(rules.select)} events; this one is "
            f"{_listed(covered - {'all'})}.",
        )
    return None


def _narrowed_out(event: Event, rules: RuleSet, *, is_first_upcoming: bool) -> Iterator[Decision]:
    """Yield every reason that narrows *event* out, in the order of the contract's list."""
    if rules.only_accepted and not (event.is_organizer or event.own_response is Response.ACCEPTED):
        yield _no(Reason.NOT_ACCEPTED, "The calendar's user has not accepted the event.")
    yield from _by_participants(event, rules)
    yield from _by_title(event, rules)
    yield from _by_domain(event, rules)
    if rules.platforms and event.link and event.link.platform not in rules.platforms:
        yield _no(Reason.PLATFORM, f"The rules leave out meetings on {event.link.platform}.")
    if event.series_id is not None and rules.recurring == "none":
        yield _no(Reason.RECURRING, "The rules leave out events of a series.")
    if event.series_id is not None and rules.recurring == "first" and not is_first_upcoming:
        yield _no(Reason.RECURRING, "The rules record only the first upcoming event of a series.")
    if event.is_private and rules.private == "skip":
        yield _no(Reason.PRIVATE, "The event is private, and the rules leave private events out.")
    yield from _by_duration(event, rules)


def _by_participants(event: Event, rules: RuleSet) -> Iterator[Decision]:
    count = len(event.people())
    if rules.min_participants is not None and count < rules.min_participants:
        yield _no(
            Reason.PARTICIPANTS,
            f"The rules ask for {rules.min_participants} participants or more; the event has {count}.",
        )
    if rules.max_participants is not None and count > rules.max_participants:
        yield _no(
            Reason.PARTICIPANTS,
            f"The rules allow {rules.max_participants} participants at most; the event has {count}.",
        )


def _by_title(event: Event, rules: RuleSet) -> Iterator[Decision]:
    """The words stay out of the explanation: one that matched is a part of the title."""
    title = _comparable(event.title)
    if rules.title_contains and not any(_comparable(word) in title for word in rules.title_contains):
        yield _no(Reason.TITLE, "The title has none of the words that the rules ask for.")
    if any(_comparable(word) in title for word in rules.title_excludes):
        yield _no(Reason.TITLE, "The title has a word that the rules leave out.")


def _by_domain(event: Event, rules: RuleSet) -> Iterator[Decision]:
    """A domain is listed exactly; the ones below it are other domains."""
    domains = {person.domain.lower() for person in event.people()}
    if rules.domains_allow and domains.isdisjoint(rules.domains_allow):
        yield _no(Reason.DOMAIN, "Nobody on the event has one of the domains that the rules ask for.")
    if denied := domains.intersection(rules.domains_deny):
        yield _no(Reason.DOMAIN, f"The rules leave out events with people of {_listed(denied)}.")


def _by_duration(event: Event, rules: RuleSet) -> Iterator[Decision]:
    minutes = TimeSpan(event.start, event.end).minutes
    if rules.min_minutes is not None and minutes < rules.min_minutes:
        yield _no(
            Reason.DURATION,
            f"The rules ask for {rules.min_minutes:g} minutes or more; the event has {minutes:g}.",
        )
    if rules.max_minutes is not None and minutes > rules.max_minutes:
        yield _no(
            Reason.DURATION,
            f"The rules allow {rules.max_minutes:g} minutes at most; the event has {minutes:g}.",
        )


def _chosen(event: Event, rules: RuleSet, calendar: CalendarFacts) -> Decision:
    selected_as = rules.select & selectors_of(event, calendar)
    return Decision(True, Reason.RECORDED, f"The rules select {_listed(selected_as)} events.")


def _is_external(event: Event, calendar: CalendarFacts) -> bool:
    """
    Say whether somebody on the event has another e-mail domain than the calendar.

    Without the calendar's address the user's own entry tells; without that, two domains on one
    event mean that one of them is foreign, whichever is the calendar's.
    """
    people = event.people()
    domains = {person.domain.lower() for person in people}
    own = next((person.domain.lower() for person in people if person.is_self), "")
    if calendar.email and "@" in calendar.email:
        own = calendar.email.rpartition("@")[2].strip().lower()
    return bool(domains - {own}) if own else len(domains) > 1


def _comparable(text: str) -> str:
    """Fold case and the several ways of writing one accented letter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _no(reason: Reason, explanation: str) -> Decision:
    return Decision(False, reason, explanation)
