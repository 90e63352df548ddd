"""
Every behaviour of Recall that public pages leave open, as a named switch with the likelier answer as default.

A consumer is right only if it is right under both answers; the control API flips them at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

Settings = TypeVar("Settings")

CHOICES = {
    "delete_on_managed_bot": ("detaches", "refused", "leaves_reference"),
    "bots_order": ("created_at", "-created_at", "join_at", "-join_at"),
    "events_of_deleted_calendar": ("gone", "deleted", "kept"),
    "calendars_order": ("created_at", "-created_at"),
    "events_order": (
        "start_time", "-start_time", "updated_at", "-updated_at", "created_at", "-created_at",
    ),
    "moved_out_of_window": ("updated", "deleted", "held"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Switches:
    """One answer per open question; each comment says what True (or the value) means."""

    # Scheduling
    schedule_bumps_updated_at: bool = False  # our own POST/DELETE …/bot/ changes the event's updated_at
    schedule_sends_sync_events: bool = False  # … and announces it with calendar.sync_events
    # bots follow a moved event by themselves (a sample README says so, the guide denies it), but none
    # that another event has booked too: nobody says that one event may take it from the other
    auto_reschedule: bool = False
    # same key, other time or link: the same bot moves; False: a new bot replaces it
    adopt_stable_keys: bool = True
    # False: the first event that booked a shared bot keeps deciding
    shared_bot_config_last_writer_wins: bool = True
    unschedule_on_deleted_event_refused: bool = False  # DELETE …/bot/ on a deleted event is a 400
    # also drops dispatched and past bots from bots[] (they stay in the call)
    unschedule_forgets_dispatched: bool = False
    # bots[].start_time is the join time asked for; False: the event's start then
    bot_ref_start_is_join_at: bool = True
    deduplication_key_ignored: bool = False  # dumb mode: every event gets a bot of its own
    idempotency_key_ignored: bool = False  # dumb mode: a repeated POST is carried out again
    # v1 create with a join_at in the past is a 400; False: joins at once
    past_join_at_refused: bool = False

    # Bots
    # the clock moves bots through their states; False: only the control API does
    bots_progress: bool = True
    # status_changes starts with `ready` before the bot is dispatched
    scheduled_bot_has_ready_status: bool = False
    legacy_bot_webhooks: bool = False  # bot.status_change (v1.10) instead of bot.<code>
    recording_webhooks: bool = False  # recording.processing and recording.done follow the bot's states
    # a new bot shows in the list only after so long (retrieve finds it at once)
    bot_list_lag_s: float = 0.0
    delete_on_managed_bot: str = "detaches"  # detaches | refused | leaves_reference
    # status_changes carry null message/sub_code; False: empty strings, as the schema has it
    null_sub_codes: bool = True
    bots_order: str = "-created_at"  # created_at | -created_at | join_at | -join_at

    # Calendars
    deleted_calendar_gives_404: bool = True  # False: GET shows it as disconnected
    events_of_deleted_calendar: str = "gone"  # gone | deleted (tombstones) | kept
    # oauth_email and webhook_url are null when unset; False: absent
    unset_calendar_fields_null: bool = True
    # Outlook: oauth_refresh_token in answers changes on every connect
    rotated_token_echoed: bool = False
    # PATCH while connected, nothing new: connects and loads again
    patch_same_token_resyncs: bool = False
    reconnect_touches_all: bool = False  # a reconnect bumps every row, not only what changed meanwhile
    status_changes_newest_first: bool = False
    # ?email= also looks at oauth_email, not only platform_email
    email_filter_matches_oauth_email: bool = False
    unknown_query_refused: bool = False  # an unknown query parameter is a 400; False: ignored
    calendars_order: str = "-created_at"  # created_at | -created_at
    webhook_url_still_posts: bool = False  # the deprecated per-calendar webhook_url gets a copy

    # Events
    # start_time | -start_time | updated_at | -updated_at | created_at | -created_at
    events_order: str = "start_time"
    cancelled_maps_to_is_deleted: bool = True  # False: only raw says it is cancelled
    roll_in_bumps_updated_at: bool = True  # an event that enters the 28 days gets a new updated_at
    roll_in_sends_webhook: bool = True
    moved_out_of_window: str = "updated"  # updated | deleted | held (the row keeps its old time)
    sync_debounce_ms: int = 0  # changes of one calendar within so long share one calendar.sync_events
    # some changes show so much later, with an updated_at older than rows already shown
    late_commit_ms: int = 0
    late_commit_rate: float = 0.5  # … this share of them
    # changes made in one batch share one updated_at, as one transaction's would
    batch_shares_stamp: bool = False

    # Form of answers
    timestamps_with_z: bool = True  # False: +00:00
    http_next_links: bool = False  # `next` says http:// (seen behind a proxy in the official demo)
    # `Date` is so far ahead of the clock that stamps the rows (behind when negative)
    date_ahead_s: float = 0.0
    # calendars and v1 answer 400 with a bare field map; False: with the envelope
    plain_field_errors: bool = True


def replaced(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """
    Return *settings* with *changes* taken over, numbers made to fit.

    Raises:
        ValueError: an unknown name, or a value of another type.
    """
    known = {field.name: getattr(settings, field.name) for field in fields(settings)}  # type: ignore[arg-type]  # a dataclass
    if unknown := changes.keys() - known.keys():
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    taken = {name: _fitted(name, value, known[name]) for name, value in changes.items()}
    return replace(settings, **taken)  # type: ignore[type-var]  # a dataclass


def _fitted(name: str, value: object, before: object) -> object:
    if type(before) is float and type(value) is int:
        value = float(value)
    if type(before) is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not type(before):
        raise ValueError(f"{name} takes {type(before).__name__}, not {type(value).__name__}")
    if value not in CHOICES.get(name, (value,)):
        raise ValueError(f"{name} is one of {', '.join(CHOICES[name])}")
    return value
