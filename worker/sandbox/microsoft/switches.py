"""
What public pages leave open, as named switches with the likelier answer as default; and the numbers of Graph.

A consumer is right only if it is right under every answer; the control API flips them at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.sandbox.recall.switches import replaced

CHOICES = {
    "dead_delta_token": (
        "SyncStateNotFound",
        "syncStateNotFound",
        "SyncStateInvalid",
        "resyncRequired",
    ),
    "deleted_occurrence_in_delta": ("silent", "series", "removed"),
    "repeated_transaction": ("same_event", "refused"),
    "paused_notifications": ("retried", "lost"),
    "view_order": ("start", "created"),
}


@dataclass(frozen=True, slots=True)
class Switches:
    """One answer per open question; each comment says what True (or the value) means."""

    # Reading
    # start and end stand in the event's own (Windows) zone unless a header asks; False: in UTC, as the
    # reference has it
    own_zone_by_default: bool = False
    # midnights of all-day events keep their digits in every zone; False: they are converted like others
    all_day_floats: bool = True
    me_events_spans_mailbox: bool = False  # /me/events lists all own calendars; False: the default one
    # an event of a shared calendar is found by /me/events/{id} too (reports say 404)
    shared_events_by_id: bool = False
    view_order: str = "start"  # start | created: the order of a calendarView without $orderby
    # all occurrences of a series have the series' iCalUId (announced in 2020; the metadata of 2026 denies it)
    occurrences_share_ical_uid: bool = False
    # the user's entry in attendees[] of a copy says what responseStatus says; False: none
    own_answer_in_attendees: bool = False

    # Delta
    # how a token that was forgotten is refused. SyncStateNotFound, resyncRequired: 410, with a Location if
    # dead_delta_location. syncStateNotFound, SyncStateInvalid: 400
    dead_delta_token: str = "SyncStateNotFound"
    dead_delta_location: bool = True
    # silent: no word of it until the series changes; series: the series comes again, without it;
    # removed: an @removed row of its own
    deleted_occurrence_in_delta: str = "silent"
    # @removed for each occurrence too, not for the master only
    removed_series_lists_occurrences: bool = False
    # @removed also for what changed outside the window all along
    removed_rows_for_strangers: bool = True
    series_split_over_pages: bool = False  # a series may be cut by the end of a page (seen never to be)
    empty_delta_pages: bool = False  # a round starts with an empty page and a nextLink (seen in 2018)
    delta_repeats_rows: bool = False  # the first rows of a page come again at its end

    # Meetings
    declined_events_stay: bool = False  # a declined event stays in the attendee's calendar
    # with isCancelled, until the attendee deletes them; False: removed
    cancelled_copies_stay: bool = True
    new_time_resets_answers: bool = True  # a meeting that moved has to be answered again
    # same_event: the first event again; refused: 409 ErrorDuplicateTransactionId
    repeated_transaction: str = "same_event"

    # Subscriptions
    duplicate_subscriptions_refused: bool = True  # 409 (documented; reported not to happen everywhere)
    # me/calendars/{id}/events may be watched (used, not documented)
    calendar_subscriptions: bool = True
    # GET shows clientState; False: null, and only the answer to POST has it
    client_state_shown: bool = True
    renewal_validates: bool = True  # PATCH asks the endpoints to prove themselves again
    updates_per_edit: int = 1  # notifications per change; up to 3 are reported
    create_sends_updated_too: bool = False
    # a subscription is as good as the access token that made it: its end is announced by
    # reauthorizationRequired and pauses delivery; False: tokens end unnoticed
    notifications_need_live_token: bool = True
    # retried | lost: what happens meanwhile to a paused subscription
    paused_notifications: str = "retried"
    missed_after_loss: bool = True  # notifications given up are told of by `missed`


@dataclass(frozen=True, slots=True)
class Limits:
    """What can be turned through `PATCH /_emulator/limits`. Sources: the fact's page, in brackets."""

    throttling: bool = True
    requests_per_window: int = 10_000  # per application and mailbox [throttling-limits]
    window_s: float = 600.0
    concurrent_requests: int = 4  # per application and mailbox [throttling-limits]
    retry_after_s: int = 1  # what the field saw with MailboxConcurrency (msgraph-sdk-javascript #297)
    latency_ms: int = 0  # every call to a mailbox takes so long
    page_size: int = 10  # calendarView and delta without a wish [microsoft-graph-docs #6376]
    largest_page: int = 1000  # [calendar-list-calendarview]
    view_days: int = 1825  # [microsoft-graph-docs #6284]
    # so many of the tokens that came of one first request are remembered, the newest; 0: all
    # ("generation=149;[highest=157][157][155][156]", microsoft-graph-docs #2350)
    delta_generations: int = 3
    # rounds remembered per mailbox, the oldest forgotten first; how many is unknown
    delta_states: int = 1000
    transaction_memory_s: float = 86_400.0  # a transactionId is known so long; undocumented
    most_attendees: int = 500  # [event]
    # Subscriptions
    longest_life_s: float = 10_080 * 60.0  # [subscription]
    shortest_life_s: float = 45 * 60.0
    subscriptions_per_mailbox: int = 1000  # [outlook-change-notifications-overview]
    validation_timeout_s: float = 10.0  # [change-notifications-delivery-webhooks]
    # a challenge comes so long before the token or the subscription ends; its cadence is unspecified
    reauthorize_before_s: float = 900.0
    answer_s: float = 3.0  # a first try has to be answered in so long, a retry in retry_answer_s
    retry_answer_s: float = 10.0
    first_retry_s: float = 10.0  # doubled each time, up to longest_retry_s; backoff without numbers
    longest_retry_s: float = 600.0
    retry_for_s: float = 4 * 3600.0
    notifications_per_post: int = 20
    # the health of an endpoint is judged once it gave so many answers, anew every ten minutes
    answers_judged: int = 100
    slow_share: float = 0.10  # … over answer_s: new notifications wait throttle_s
    drop_share: float = 0.15  # … over retry_answer_s: notifications are dropped for throttle_s
    throttle_s: float = 600.0
    # getSchedule
    schedules_at_once: int = 100  # 20 documented, 100 enforced [microsoft-graph-docs #7047]
    schedule_days: int = 62  # [microsoft-graph-docs PR #19703]
    schedule_items: int = 1000


def with_choices(switches: Switches, changes: Mapping[str, Any]) -> Switches:
    """Raises ValueError: an unknown name, or a value of another type or outside its choices."""
    changed = replaced(switches, changes)
    for name, allowed in CHOICES.items():
        if getattr(changed, name) not in allowed:
            raise ValueError(f"{name} is one of {', '.join(allowed)}")
    return changed
