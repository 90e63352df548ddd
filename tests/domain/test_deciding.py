"""Which events call for a bot: one table for each question, in the order they are asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.domain.deciding import selectors_of
from models.domain.events import EventStatus, MeetingLink, Person, Response
from models.domain.rules import SELECTORS, Reason, RuleSet
from tests.domain.builders import (
    ANNA,
    BEN,
    CLARA,
    NOON,
    ONE,
    THE_DAY_BEFORE,
    a_calendar,
    an_event,
    decided,
    rules,
)

WEBEX = MeetingLink("webex", "https://acme.webex.com/meet/anna", "webex:acme.webex.com/anna")
OWN = {"organizer": ANNA, "is_organizer": True}
WITH_CLARA = {"attendees": (ANNA, BEN, CLARA)}
A_SERIES = {"series_id": "series-1"}


def test_a_dull_event_is_recorded_once_rules_select_it() -> None:
    assert decided(an_event(), rules()).reason is Reason.RECORDED


def test_nothing_is_recorded_until_somebody_says_what() -> None:
    assert decided(an_event(), RuleSet()).reason is Reason.NO_RULE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"deleted": True}, Reason.DELETED),
        ({"status": EventStatus.CANCELLED}, Reason.CANCELLED),
        ({"end": THE_DAY_BEFORE, "start": THE_DAY_BEFORE - timedelta(hours=1)}, Reason.ENDED),
        ({"link": None}, Reason.NO_LINK),
    ],
)
def test_an_impossible_bot_is_refused_even_when_asked_for(
    changes: dict[str, Any], reason: Reason
) -> None:
    decision = decided(an_event(**changes), override=True)

    assert (decision.wanted, decision.reason) == (False, reason)


def test_a_disconnected_calendar_records_nothing_even_when_asked_to() -> None:
    decision = decided(calendar=a_calendar(disconnected=True), override=True)

    assert (decision.wanted, decision.reason) == (False, Reason.DISCONNECTED)


def test_a_paused_calendar_records_nothing_even_when_asked_to() -> None:
    assert decided(calendar=a_calendar(paused=True), override=True).reason is Reason.PAUSED


@pytest.mark.parametrize(
    ("now", "wanted"),
    [(THE_DAY_BEFORE, True), (NOON, True), (ONE - timedelta(seconds=1), True), (ONE, False)],
)
def test_a_meeting_is_wanted_until_it_ends(now: datetime, wanted: bool) -> None:
    assert decided(now=now).wanted is wanted


@pytest.mark.parametrize(
    ("override", "series_override", "reason"),
    [
        (True, None, Reason.OVERRIDE_RECORD),
        (None, True, Reason.OVERRIDE_RECORD),
        (True, False, Reason.OVERRIDE_RECORD),
        (False, None, Reason.OVERRIDE_SKIP),
        (None, False, Reason.OVERRIDE_SKIP),
        (False, True, Reason.OVERRIDE_SKIP),
        (None, None, Reason.RECORDED),
    ],
)
def test_an_occurrence_overrides_its_series_which_overrides_the_rules(
    override: bool | None, series_override: bool | None, reason: Reason
) -> None:
    decision = decided(an_event(**A_SERIES), override=override, series_override=series_override)

    assert decision.reason is reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"own_response": Response.DECLINED}, Reason.DECLINED), ({"all_day": True}, Reason.ALL_DAY)],
)
def test_some_events_are_recorded_only_when_asked_for(changes: dict[str, Any], reason: Reason) -> None:
    event = an_event(**changes)

    assert decided(event).reason is reason
    assert decided(event, override=True).wanted


@pytest.mark.parametrize(
    ("changes", "selectors"),
    [
        ({}, {"all", "internal", "invited"}),
        (OWN, {"all", "internal", "own"}),
        (WITH_CLARA, {"all", "external", "invited"}),
        ({**WITH_CLARA, **OWN}, {"all", "external", "own"}),
        ({"organizer": CLARA, "attendees": (ANNA,)}, {"all", "external", "invited"}),
        ({"organizer": CLARA, "attendees": ()}, {"all", "external", "invited"}),
        ({"organizer": None, "attendees": (ANNA, BEN)}, {"all", "internal", "invited"}),
        ({"organizer": None, "attendees": (ANNA,)}, {"all", "internal"}),
        ({"organizer": None, "attendees": (), "own_response": None}, {"all", "internal"}),
        ({"organizer": ANNA, "is_organizer": True, "attendees": ()}, {"all", "internal", "own"}),
        ({"attendees": (ANNA, Person("x@sub.acme.test"))}, {"all", "external", "invited"}),
    ],
)
def test_an_event_is_covered_by_these_selectors(changes: dict[str, Any], selectors: set[str]) -> None:
    event = an_event(**changes)

    assert selectors_of(event, a_calendar()) == selectors
    for selector in SELECTORS:
        assert decided(event, rules(select=[selector])).wanted is (selector in selectors)


def test_domains_differ_only_by_more_than_case() -> None:
    assert "internal" in selectors_of(an_event(), a_calendar(email="Anna@ACME.test"))


@pytest.mark.parametrize(
    ("attendees", "selector"),
    [
        ((ANNA, BEN), "internal"),
        ((ANNA, CLARA), "external"),
        ((replace(ANNA, is_self=False), BEN), "internal"),
        ((replace(ANNA, is_self=False), CLARA), "external"),
        ((), "internal"),
    ],
)
def test_without_the_calendars_address_its_users_entry_or_two_domains_tell(
    attendees: tuple[Person, ...], selector: str
) -> None:
    event = an_event(attendees=attendees, organizer=None)

    assert selector in selectors_of(event, a_calendar(email=None))


@pytest.mark.parametrize(
    ("changes", "fields", "reason"),
    [
        ({"own_response": Response.TENTATIVE}, {"only_accepted": True}, Reason.NOT_ACCEPTED),
        ({"own_response": None}, {"only_accepted": True}, Reason.NOT_ACCEPTED),
        ({}, {"only_accepted": True}, None),
        ({**OWN, "own_response": None}, {"only_accepted": True}, None),
        ({}, {"min_participants": 3}, Reason.PARTICIPANTS),
        ({}, {"min_participants": 2, "max_participants": 2}, None),
        ({"organizer": CLARA}, {"min_participants": 3}, None),
        (WITH_CLARA, {"max_participants": 2}, Reason.PARTICIPANTS),
        ({}, {"title_contains": ["demo"]}, Reason.TITLE),
        ({}, {"title_contains": ["demo", "ANDU"]}, None),
        ({}, {"title_excludes": ["STAND"]}, Reason.TITLE),
        ({"title": "Straße"}, {"title_contains": ["STRASSE"]}, None),
        ({"title": "Cafe\u0301"}, {"title_contains": ["CAF\u00c9"]}, None),
        ({"title": "49"}, {"title_contains": ["{{7*7}}"]}, Reason.TITLE),
        ({}, {"title_contains": [".*"]}, Reason.TITLE),
        ({}, {"domains_allow": ["customer.test"]}, Reason.DOMAIN),
        (WITH_CLARA, {"domains_allow": ["other.test", "Customer.test"]}, None),
        (WITH_CLARA, {"domains_deny": ["customer.test"]}, Reason.DOMAIN),
        (WITH_CLARA, {"domains_deny": ["test.customer", "er.test"]}, None),
        ({}, {"platforms": ["webex"]}, Reason.PLATFORM),
        ({"link": WEBEX}, {"platforms": ["webex"]}, None),
        (A_SERIES, {"recurring": "none"}, Reason.RECURRING),
        ({}, {"recurring": "none"}, None),
        ({"is_private": True}, {"private": "skip"}, Reason.PRIVATE),
        ({"is_private": True}, {}, None),
        ({}, {"min_minutes": 61}, Reason.DURATION),
        ({}, {"min_minutes": 60, "max_minutes": 60}, None),
        ({}, {"max_minutes": 59.5}, Reason.DURATION),
    ],
)
def test_the_other_fields_narrow_the_selection(
    changes: dict[str, Any], fields: dict[str, Any], reason: Reason | None
) -> None:
    decision = decided(an_event(**changes), rules(**fields))

    assert decision.reason is (reason or Reason.RECORDED)
    assert decision.wanted is (reason is None)


@pytest.mark.parametrize(("is_first", "wanted"), [(True, True), (False, False)])
def test_only_the_first_upcoming_occurrence_of_a_series_may_be_recorded(
    is_first: bool, wanted: bool
) -> None:
    event = an_event(**A_SERIES)

    decision = decided(event, rules(recurring="first"), is_first_upcoming=is_first)

    assert decision.wanted is wanted


def test_a_single_event_is_never_a_later_occurrence() -> None:
    decision = decided(an_event(), rules(recurring="first"), is_first_upcoming=False)

    assert decision.wanted


def test_the_first_reason_in_the_contracts_order_is_the_one_given() -> None:
    event = an_event(title="Secret", is_private=True, own_response=None)
    strict = rules(only_accepted=True, min_participants=9, title_excludes=["secret"], private="skip")

    assert decided(event, strict).reason is Reason.NOT_ACCEPTED


EVENTS = st.builds(
    an_event,
    title=st.sampled_from(["Zanzibar", "Quokka"]),
    attendees=st.lists(st.sampled_from([ANNA, BEN, CLARA]), unique=True, max_size=3).map(tuple),
    organizer=st.sampled_from([ANNA, BEN, CLARA, None]),
    is_organizer=st.booleans(),
    own_response=st.sampled_from([None, *Response]),
    all_day=st.booleans(),
    deleted=st.booleans(),
    is_private=st.booleans(),
    status=st.sampled_from(EventStatus),
    series_id=st.sampled_from([None, "series-1"]),
    link=st.sampled_from([None, WEBEX]),
)
SELECTS = st.frozensets(st.sampled_from(SELECTORS))
RULES = st.builds(
    RuleSet,
    select=SELECTS,
    only_accepted=st.booleans(),
    min_participants=st.sampled_from([None, 2]),
    title_excludes=st.sampled_from([(), ("zanz",)]),
    domains_deny=st.sampled_from([(), ("customer.test",)]),
    recurring=st.sampled_from(["all", "none", "first"]),
    private=st.sampled_from(["record", "skip"]),
)
CALENDARS = st.builds(
    a_calendar,
    email=st.sampled_from([None, "anna@acme.test"]),
    disconnected=st.booleans(),
    paused=st.booleans(),
)
SAID = st.sampled_from([None, True, False])


@given(
    EVENTS,
    RULES,
    CALENDARS,
    SAID,
    SAID,
    st.booleans(),
    st.sampled_from([THE_DAY_BEFORE, NOON, ONE]),
)
def test_some_things_always_hold(
    event: Any,
    by: RuleSet,
    calendar: Any,
    override: bool | None,
    series: bool | None,
    first: bool,
    now: Any,
) -> None:
    decision = decided(
        event,
        by,
        calendar=calendar,
        override=override,
        series_override=series,
        is_first_upcoming=first,
        now=now,
    )

    is_possible = not (
        event.deleted
        or event.status is EventStatus.CANCELLED
        or calendar.disconnected
        or calendar.paused
        or event.end <= now
        or event.link is None
    )
    said = series if override is None else override
    assert not decision.wanted or is_possible
    assert decision.wanted == (decision.reason in {Reason.RECORDED, Reason.OVERRIDE_RECORD})
    if is_possible and said is not None:
        assert decision.wanted is said
    words = decision.explanation.lower()
    assert decision.explanation.endswith(".")
    assert "@" not in words
    assert "zanz" not in words
    assert "quokka" not in words


@given(EVENTS, RULES, CALENDARS, SELECTS)
def test_selecting_more_never_records_less(event: Any, by: RuleSet, calendar: Any, more: Any) -> None:
    before = decided(event, by, calendar=calendar)
    after = decided(event, replace(by, select=by.select | more), calendar=calendar)

    assert after.wanted or not before.wanted


@given(EVENTS, RULES, CALENDARS)
def test_the_clock_only_ends_meetings(event: Any, by: RuleSet, calendar: Any) -> None:
    early = decided(event, by, calendar=calendar, now=THE_DAY_BEFORE)
    late = decided(event, by, calendar=calendar, now=ONE - timedelta(seconds=1))

    assert early == late
