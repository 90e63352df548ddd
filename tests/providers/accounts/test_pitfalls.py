"""
The pitfalls of production engines, as far as they are of connecting and reading: who shows what.

Paths are below tests/; one that names no folder is beside this module.

 1  push alone loses changes
        worker/test_reading_directly.py::test_without_any_push_a_calendar_with_a_meeting_soon_is_looked_at
        worker/test_reading_directly.py::test_every_calendar_is_looked_at_within_the_hour
 2  a channel that is dead and has not expired
        worker/test_channels.py::test_a_channel_that_keeps_quiet_about_changes_is_replaced
        test_pitfalls.py::test_a_channel_that_died_without_a_word_is_replaced
 3  a sync message, or a push, before the answer to the watch call is stored
        test_pitfalls.py::test_a_sync_message_that_comes_before_the_answer_is_taken_for_ours
        webhooks/test_pushes.py::test_what_is_not_ours_is_answered_kindly_and_forgotten
 4  the states of Drive taken for Calendar's
        webhooks/test_pushes.py::test_a_push_of_google_is_stored_and_its_calendar_asked_for
        webhooks/test_pushes.py::test_what_is_not_ours_is_answered_kindly_and_forgotten
 5  a sync token that never appears
        test_pitfalls.py::test_the_cursor_is_found_behind_short_and_empty_pages
        test_pitfalls.py::test_a_calendar_without_a_cursor_is_read_whole_each_time
 6  410 taken for an error, or a wipe
        test_pitfalls.py::test_a_forgotten_cursor_drops_nothing
        worker/test_reading_directly.py::test_a_forgotten_cursor_leads_to_a_complete_reading_that_deletes_nothing_first
 7  sparse rows of what is cancelled
        test_pitfalls_of_series.py::test_a_cancelled_occurrence_loses_its_bot_and_no_other_does
        test_pitfalls_of_series.py::test_a_cancelled_occurrence_that_takes_place_after_all_has_its_bot_again
        providers/payloads/test_google.py::test_a_cancelled_row_with_only_an_id_needs_a_start_from_the_caller
 8  stubs of a delta round; masters of shared calendars
        test_pitfalls.py::test_what_a_round_shows_as_stubs_is_read_whole
        test_pitfalls.py::test_a_stub_whose_master_is_not_in_the_round_is_read_whole
        test_pitfalls.py::test_a_series_of_a_shared_calendar_is_read_through_that_calendar
 9  `@removed` taken for a deletion; a deleted occurrence that nothing tells of
        test_microsoft.py::test_what_moved_out_of_the_window_is_no_deletion
        test_pitfalls_of_series.py::test_a_series_that_leaves_the_window_leaves_no_bot_behind
        test_pitfalls_of_series.py::test_a_meeting_moved_beyond_the_window_is_not_taken_for_deleted
        test_pitfalls_of_series.py::test_an_occurrence_moved_beyond_the_window_is_not_taken_for_deleted
        test_pitfalls_of_series.py::test_a_cancelled_occurrence_loses_its_bot_and_no_other_does
10  the window frozen in the cursor
        test_pitfalls.py::test_what_lay_beyond_the_window_is_seen_when_the_window_has_moved
        worker/test_reading_directly.py::test_an_event_beyond_the_window_is_left_out_until_it_comes_near
11  work done inside the webhook
        test_pitfalls.py::test_a_push_is_answered_without_asking_anybody
        webhooks/test_pushes.py::test_each_notification_of_a_post_is_stored_by_itself
12  storms of notifications
        test_pitfalls.py::test_one_edit_told_three_times_is_one_change
        worker/test_reading_directly.py::test_nothing_new_changes_and_emits_nothing
13  holes in a subscription's life
        test_pitfalls.py::test_a_subscription_says_from_the_start_where_its_life_is_told_of
        test_pitfalls.py::test_a_subscription_that_was_removed_is_made_anew
        test_contracts.py::TestMicrosoftCalendars
        worker/test_channels.py::test_a_channel_is_renewed_when_half_its_life_is_over
14  races and silent deaths of tokens
        worker/test_tokens.py::test_of_many_who_need_a_token_at_once_one_asks_for_it
        worker/test_tokens.py::test_a_refusal_of_a_token_that_was_replaced_meanwhile_says_nothing
        worker/test_tokens.py::test_a_consent_that_is_refused_twice_is_lost_and_told_once
        test_pitfalls.py::test_every_consent_brings_a_refresh_token
15  an operator's fault shown as the user's
        test_pitfalls.py::test_what_a_token_endpoint_refuses_is_somebodys_matter
        test_google.py::test_what_google_refuses_has_one_reaction
        worker/test_tokens.py::test_a_client_that_is_refused_is_the_operators_matter
        webhooks/test_pages.py::test_an_operators_fault_is_not_the_users
16  the wall before administrators' consent
        webhooks/test_pages.py::test_where_only_an_administrator_may_agree_the_page_has_a_link_for_one
17  time zones
        test_pitfalls_of_time.py::test_a_weekly_meeting_keeps_its_hour_over_the_change_of_clocks
        test_pitfalls_of_time.py::test_looking_again_after_the_change_of_clocks_moves_nothing
        test_pitfalls_of_time.py::test_digits_are_read_in_the_zone_that_graph_names
        test_pitfalls_of_time.py::test_digits_of_a_zone_that_nobody_knows_are_told_and_guessed_by_nobody
        test_pitfalls_of_time.py::test_a_meeting_of_a_custom_zone_is_read_in_utc_as_asked_for
        test_pitfalls_of_time.py::test_a_day_is_that_day_wherever_the_calendar_is
        providers/payloads/test_google.py::test_a_start_is_read_in_its_zone
18  one meeting twice; its half of writing invitations is not of reading
        test_pitfalls.py::test_one_meeting_on_two_platforms_has_one_bot
        worker/test_one_meeting.py::test_copies_with_different_links_share_the_organisers
19  availability that fails open: not of reading
20  rescheduling
        test_pitfalls.py::test_a_meeting_first_seen_when_it_was_over_and_then_moved_forward_has_a_bot
        test_pitfalls.py::test_a_new_start_alone_moves_the_bot
        test_pitfalls.py::test_a_meeting_moved_while_its_bot_is_in_the_call_has_a_bot_where_it_is_now
        test_pitfalls.py::test_a_meeting_moved_to_another_calendar_keeps_one_bot
        test_pitfalls.py::test_one_meeting_on_two_platforms_has_one_bot

What becomes of series and of time zones is beside: test_pitfalls_of_series.py, test_pitfalls_of_time.py.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import Engine

from models.domain.bots import BotState
from models.sealing import Vault
from tests.builders import NOON
from tests.providers.accounts.following import DAY, HOUR, WEEK, Diary, Follower
from tests.providers.accounts.kit import (
    ANNA,
    REDIRECT,
    VERIFIER,
    Platform,
    cursor_of,
    titles,
    window,
)
from worker import channels
from worker.errors import AuthorizationLost, ConsentLost, Reaction, TryLater

TESTS = Path(__file__).parents[2]
only_google = pytest.mark.parametrize("platform", ["google"], indirect=True)
only_microsoft = pytest.mark.parametrize("platform", ["microsoft"], indirect=True)


def until(is_so: Callable[[], object], *, seconds: float = 5) -> None:
    """Wait for what happens in another thread."""
    ends_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends_at, "it does not happen"
        time.sleep(0.01)


# 2, 3, 11, 12, 13: channels, and what comes over them


def test_a_channel_that_died_without_a_word_is_replaced(hearing: Follower, diary: Diary) -> None:
    hearing.connect()
    hearing.keep_channels()
    (dead,) = _open_channels(diary.platform)
    if diary.is_google:
        diary.platform.control("PATCH", f"/channels/{dead}", {"dead": True})
    else:
        diary.platform.control("POST", f"/subscriptions/{dead}/silence", {})
    for number in range(channels.MOST_MISSED):
        diary.plan(start=NOON + number * DAY)
        hearing.look()

    hearing.keep_channels()
    hearing.keep_channels()

    (fresh,) = _open_channels(diary.platform)
    assert fresh != dead
    hearing.look()
    diary.plan(start=NOON + 5 * DAY)
    until(lambda: hearing.world.is_due(hearing.calendar_id))


@only_google
def test_a_sync_message_that_comes_before_the_answer_is_taken_for_ours(
    hearing: Follower, diary: Diary
) -> None:
    """Its channel's secret is all that we know it by: no row is there yet that says it is open."""
    diary.platform.control("PATCH", "/switches", {"sync_before_answer": True})
    hearing.connect()

    hearing.keep_channels()

    (greeting,) = diary.platform.control("GET", "/notices")
    assert (greeting["state"], greeting["statuses"]) == ("sync", [200])
    assert hearing.world.count("deliveries") == 0
    hearing.look()
    diary.plan(start=NOON)
    until(lambda: hearing.world.is_due(hearing.calendar_id))


def test_a_push_is_answered_without_asking_anybody(hearing: Follower, diary: Diary) -> None:
    hearing.connect()
    hearing.keep_channels()
    hearing.look()
    diary.platform.control("DELETE", "/requests")

    diary.plan(start=NOON)
    until(lambda: hearing.world.count("deliveries") == 1)

    assert hearing.world.is_due(hearing.calendar_id)
    assert diary.platform.control("GET", "/requests") == {}


def test_one_edit_told_three_times_is_one_change(hearing: Follower, diary: Diary) -> None:
    event = diary.plan(start=NOON)
    hearing.connect()
    hearing.keep_channels()
    hearing.look()
    if diary.is_google:
        diary.platform.control("PUT", "/push", {"duplicate": 1.0, "copies": 3})
    else:
        diary.platform.control("PATCH", "/switches", {"updates_per_edit": 3})
    diary.change(event, title="Weekly indeed")
    told = 1 if diary.is_google else 3  # Google's have one number, and are known by it
    until(lambda: hearing.world.count("deliveries") == told)

    for _ in range(3):
        hearing.look()

    assert hearing.told("calendar_event.u") == ["calendar_event.updated"]
    assert hearing.world.count("deliveries", "state = 'done'") == told


@only_microsoft
def test_a_subscription_says_from_the_start_where_its_life_is_told_of(
    hearing: Follower, diary: Diary
) -> None:
    """It cannot be added later. Source: Graph, lifecycle notifications."""
    hearing.connect()

    hearing.keep_channels()

    (subscription,) = diary.platform.control("GET", "/subscriptions")
    assert subscription["lifecycleNotificationUrl"] == subscription["notificationUrl"]
    assert subscription["changeType"] == "created,updated,deleted"


@only_microsoft
def test_a_subscription_that_was_removed_is_made_anew(hearing: Follower, diary: Diary) -> None:
    hearing.connect()
    hearing.keep_channels()
    hearing.look()
    (lost,) = _open_channels(diary.platform)
    event = {"event": "subscriptionRemoved"}
    diary.platform.control("POST", f"/subscriptions/{lost}/lifecycle", event)
    until(lambda: hearing.world.is_due(hearing.calendar_id))

    hearing.look()
    for _ in range(3):
        hearing.keep_channels()

    (fresh,) = _open_channels(diary.platform)
    assert fresh != lost


# 5, 6, 8, 10: cursors and rounds


@pytest.mark.parametrize(
    ("platform", "numbers", "switches"),
    [
        ("google", {"page_size_max": 2, "page_shortfall": 0.7}, {}),
        ("microsoft", {}, {"empty_delta_pages": True}),
    ],
    indirect=["platform"],
    ids=["google", "microsoft"],
)
def test_the_cursor_is_found_behind_short_and_empty_pages(
    platform: Platform, numbers: dict[str, object], switches: dict[str, object]
) -> None:
    platform.control("PATCH", "/limits", numbers)
    platform.control("PATCH", "/switches", switches)
    events = [platform.put(f"Meeting {number}") for number in range(7)]

    readings = platform.read_all()

    assert titles(readings) == [f"Meeting {number}" for number in range(7)]
    for number, event in enumerate(events):
        Diary(platform).change(event, title=f"Changed {number}")
    changes = platform.read_changes(cursor_of(readings))
    assert titles(changes) == [f"Changed {number}" for number in range(7)]
    assert titles(platform.read_changes(cursor_of(changes))) == []


@only_google
def test_a_calendar_without_a_cursor_is_read_whole_each_time(follower: Follower, diary: Diary) -> None:
    """Whether a listing of a window ends with a sync token is not documented."""
    diary.platform.control("PATCH", "/switches", {"windowed_sync_gives_token": False})
    gone, moved = diary.plan(start=NOON), diary.plan(start=NOON + DAY)
    follower.connect()
    bots = follower.joins()
    diary.delete(gone)
    diary.change(moved, start=NOON + 2 * DAY)

    follower.look()

    assert follower.joins() == {NOON + 2 * DAY: bots[NOON + DAY]}


def test_a_forgotten_cursor_drops_nothing(follower: Follower, diary: Diary) -> None:
    diary.plan("Kept", start=NOON)
    changed = diary.plan("Changed", start=NOON + DAY)
    gone = diary.plan("Gone", start=NOON + 2 * DAY)
    follower.connect()
    bots = follower.joins()
    diary.forget_cursors()
    diary.change(changed, title="Changed indeed")
    diary.delete(gone)
    diary.plan("New", start=NOON + 3 * DAY)

    follower.look()

    assert [row["title"] for row in follower.events()] == ["Kept", "Changed indeed", "New"]
    joins = follower.joins()
    assert list(joins) == [NOON, NOON + DAY, NOON + 3 * DAY]
    assert [joins[start] for start in (NOON, NOON + DAY)] == [bots[NOON], bots[NOON + DAY]]
    assert Counter(follower.told("calendar_event.")) == {
        "calendar_event.created": 4,
        "calendar_event.updated": 1,
        "calendar_event.deleted": 1,
    }
    assert Counter(follower.told()) == {"bot.scheduled": 4, "bot.cancelled": 1}


@only_microsoft
def test_what_a_round_shows_as_stubs_is_read_whole(follower: Follower, diary: Diary) -> None:
    follower.connect()
    diary.plan("Weekly", start=NOON, weekly=3)

    follower.look()

    assert [row["title"] for row in follower.events()] == ["Weekly"] * 3
    assert list(follower.joins()) == [NOON + n * WEEK for n in range(3)]
    assert follower.told("calendar_event.") == ["calendar_event.created"] * 3


@only_microsoft
def test_a_stub_whose_master_is_not_in_the_round_is_read_whole(
    follower: Follower, diary: Diary
) -> None:
    series = diary.plan("Weekly", start=NOON, weekly=3)
    follower.connect()
    first, *_ = follower.events()
    diary.change(series, title="Weekly indeed")
    stub = {
        "id": first["external_id"],
        "seriesMasterId": first["series_id"],
        "type": "occurrence",
        "start": {"dateTime": "2026-11-23T12:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-23T13:00:00.0000000", "timeZone": "UTC"},
    }
    page = {
        "value": [stub],
        "@odata.deltaLink": follower.world.calendar(follower.calendar_id)["cursor"],
    }
    diary.platform.control(
        "POST", "/faults", {"status": 200, "body": page, "path": "delta", "times": 1}
    )

    follower.look()

    assert [row["title"] for row in follower.events()] == ["Weekly indeed"] * 3
    assert all(row["link_key"] for row in follower.events())


@only_microsoft
def test_a_series_of_a_shared_calendar_is_read_through_that_calendar(platform: Platform) -> None:
    """By `/me/events/{id}` its master is not found. Source: microsoft-graph-docs #34."""
    ben = "ben@example.com"
    platform.control("POST", "/accounts", {"email": ben})
    bens = Diary(platform, ben)
    shared = platform.control("POST", f"/calendars/{quote(ben)}/share", {"with": ANNA})["id_there"]
    scopes = [
        f"https://graph.microsoft.com/{name}" for name in ("Calendars.Read", "Calendars.Read.Shared")
    ]
    wish = {"account": ANNA, "client_id": platform.app.client_id, "scopes": scopes}
    token = platform.control("POST", "/oauth/tokens", wish)["access_token"]
    span = window()
    begin = (span.since + 2 * DAY).replace(microsecond=0)
    cursor = cursor_of(list(platform.calendars.read_all(token, shared, span, email=ANNA)))
    series = bens.plan("Hers", start=begin, weekly=3)

    first = list(platform.calendars.read_changes(token, shared, cursor, span, email=ANNA))
    bens.change(series, title="Hers indeed")
    second = list(platform.calendars.read_changes(token, shared, cursor_of(first), span, email=ANNA))

    assert titles(first) == ["Hers"] * 3
    assert titles(second) == ["Hers indeed"] * 3


def test_what_lay_beyond_the_window_is_seen_when_the_window_has_moved(
    follower: Follower, diary: Diary
) -> None:
    far = NOON + 45 * DAY
    event = diary.plan(start=far)
    follower.connect()
    assert follower.starts() == []
    follower.be_at(far - 20 * DAY)

    follower.look()
    assert list(follower.joins()) == [far]

    diary.change(event, start=far + HOUR)
    follower.look()
    assert list(follower.joins()) == [far + HOUR]


# 14, 15: tokens


def test_every_consent_brings_a_refresh_token(platform: Platform) -> None:
    """Google gives one only with the first consent unless the consent is asked for again."""
    given = [
        platform.authority.redeem(
            platform.app, platform.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
        )
        for _ in range(2)
    ]

    assert all(tokens.refresh_token for tokens in given)


REFUSALS: list[tuple[str, str, type[Reaction]]] = [
    ("google", "wrong_secret", AuthorizationLost),
    ("google", "deleted_client", AuthorizationLost),
    ("google", "revoked", ConsentLost),
    ("google", "policy", ConsentLost),
    ("google", "too_many", TryLater),
    ("google", "overloaded", TryLater),
    ("google", "failed", TryLater),
    ("microsoft", "wrong_secret", AuthorizationLost),
    ("microsoft", "expired_secret", AuthorizationLost),
    ("microsoft", "unknown_client", AuthorizationLost),
    ("microsoft", "expired", ConsentLost),
    ("microsoft", "policy", ConsentLost),
    ("microsoft", "challenge", ConsentLost),
    ("microsoft", "no_consent", ConsentLost),
    ("microsoft", "too_many", TryLater),
    ("microsoft", "overloaded", TryLater),
    ("microsoft", "failed", TryLater),
]


@pytest.mark.parametrize(
    ("platform", "trouble", "reaction"),
    REFUSALS,
    indirect=["platform"],
    ids=[f"{name}-{trouble}" for name, trouble, _ in REFUSALS],
)
def test_what_a_token_endpoint_refuses_is_somebodys_matter(
    platform: Platform, trouble: str, reaction: type[Reaction]
) -> None:
    given = platform.authority.redeem(
        platform.app, platform.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )
    assert given.refresh_token is not None
    platform.control("POST", "/oauth/faults", {"reason": trouble})

    with pytest.raises(reaction) as raised:
        platform.authority.refresh(platform.app, given.refresh_token)

    assert type(raised.value) is reaction


# 18, 20: bots


def test_one_meeting_on_two_platforms_has_one_bot(
    db: Engine, vault: Vault, google: Platform, microsoft: Platform
) -> None:
    """The organiser's copy is at Google, the guest's in Outlook; their ids have nothing in common."""
    follower = Follower(db, vault, (google, microsoft))
    hers, his = Diary(google), Diary(microsoft)
    at_google = hers.plan(start=NOON, iCalUID="one@acme.test")
    in_outlook = his.plan(start=NOON, ical_uid="one@acme.test")
    anna, ben = follower.connect(google), follower.connect(microsoft)
    assert len(follower.events()) == 2
    (bot,) = follower.joins().items()

    hers.delete(at_google)
    follower.look(anna)
    assert follower.joins() == dict([bot])

    his.delete(in_outlook)
    follower.look(ben)
    assert follower.joins() == {}


def test_a_meeting_first_seen_when_it_was_over_and_then_moved_forward_has_a_bot(
    follower: Follower, diary: Diary
) -> None:
    event = diary.plan(start=follower.world.at - 3 * HOUR)
    follower.connect()
    assert follower.joins() == {}
    diary.change(event, start=NOON)

    follower.look()

    assert follower.starts() == list(follower.joins()) == [NOON]


def test_a_new_start_alone_moves_the_bot(follower: Follower, diary: Diary) -> None:
    event = diary.plan(start=NOON)
    follower.connect()
    bots = follower.joins()
    earlier, end = NOON - timedelta(minutes=30), NOON + HOUR
    diary.change(event, start=earlier.isoformat(), end=end.isoformat())

    follower.look()

    (row,) = follower.events()
    assert (row["start_at"], row["end_at"]) == (earlier, end)
    assert follower.joins() == {earlier: bots[NOON]}


def test_a_meeting_moved_while_its_bot_is_in_the_call_has_a_bot_where_it_is_now(
    follower: Follower, diary: Diary
) -> None:
    event = diary.plan(start=NOON)
    follower.connect()
    (bot,) = follower.world.bots.live
    follower.be_at(NOON + timedelta(minutes=1))
    bot.state = BotState.IN_CALL
    follower.world.hear_of_bot(bot.bot_id, "in_call")
    diary.change(event, start=NOON + DAY)

    follower.look()

    assert list(follower.joins()) == [NOON + DAY]
    assert bot.state is BotState.DONE


@pytest.mark.parametrize("first", ["where it was", "where it is"])
def test_a_meeting_moved_to_another_calendar_keeps_one_bot(
    follower: Follower, diary: Diary, first: str
) -> None:
    event, other = diary.plan(start=NOON), diary.other("Team")
    was = follower.connect()
    now = follower.follow(other)
    bots = follower.joins()
    diary.move(event, other)

    for calendar_id in (was, now) if first == "where it was" else (now, was):
        follower.look(calendar_id)

    assert list(follower.joins()) == [NOON]
    if first == "where it is":
        assert follower.joins() == bots


# The table above


def test_the_table_names_tests_that_there_are() -> None:
    named = re.findall(r"^ {8}(\S+)::(\w+)$", __doc__ or "", re.MULTILINE)

    missing = [f"{path}::{name}" for path, name in named if not _is_there(path, name)]

    assert len(named) > 40
    assert missing == []


def test_the_table_names_every_pitfall() -> None:
    numbers = [int(found) for found in re.findall(r"^ ?(\d+)  \S", __doc__ or "", re.MULTILINE)]

    assert numbers == list(range(1, 21))


def _is_there(path: str, name: str) -> bool:
    file = TESTS / path if "/" in path else Path(__file__).with_name(path)
    kind = "class" if name.startswith("Test") else "def"
    return file.exists() and re.search(rf"^{kind} {name}\b", file.read_text(), re.MULTILINE) is not None


def _open_channels(platform: Platform) -> list[str]:
    """List the ids of the channels that the platform holds open."""
    if platform.name == "google":
        return [one["id"] for one in platform.control("GET", "/channels") if one["live"]]
    return [one["id"] for one in platform.control("GET", "/subscriptions")]
