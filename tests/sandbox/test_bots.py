"""Bots on events and bots of one's own: sharing, pool, states, and what may still be changed when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.sandbox.driving import MEET, NOW, ZOOM, Sandbox, iso

EVENTS = "/api/v2/calendar-events/"
BOTS = "/api/v1/bot/"


def two_events(sandbox: Sandbox) -> tuple[str, str]:
    anna, ben = sandbox.a_calendar(), sandbox.a_calendar("ben@example.com")
    return sandbox.an_event(anna)["id"], sandbox.an_event(ben)["id"]


def unschedule(sandbox: Sandbox, event_id: str) -> Any:
    return sandbox.call("DELETE", f"{EVENTS}{event_id}/bot/")


def a_bot(sandbox: Sandbox, **wish: Any) -> dict[str, Any]:
    wish = {"meeting_url": ZOOM, "join_at": iso(NOW + timedelta(hours=1))} | wish
    made: dict[str, Any] = sandbox.post(BOTS, wish)
    return made


def states(sandbox: Sandbox, bot_id: str) -> list[str]:
    return [change["code"] for change in sandbox.get(f"{BOTS}{bot_id}/")["status_changes"]]


def test_a_booked_event_shows_its_bot(sandbox: Sandbox) -> None:
    event = sandbox.an_event()

    answer = sandbox.schedule(event["id"], "k", {"bot_name": "Note", "metadata": {"a": "b"}})

    bot = sandbox.live_bots()[0]
    assert answer.status_code == 200
    assert answer.json()["bots"] == [
        {
            "bot_id": bot["id"],
            "start_time": event["start_time"],
            "deduplication_key": "k",
            "meeting_url": MEET,
        }
    ]
    assert (bot["bot_name"], bot["metadata"], bot["managed"]) == ("Note", {"a": "b"}, True)


def test_events_with_one_key_share_a_bot_that_goes_with_the_last_of_them(sandbox: Sandbox) -> None:
    one, other = two_events(sandbox)
    sandbox.schedule(one)
    sandbox.schedule(other)
    shared = sandbox.live_bots()

    unschedule(sandbox, one)
    after_one = sandbox.live_bots()
    unschedule(sandbox, other)

    assert [bot["event_ids"] for bot in shared] == [[one, other]]
    assert [bot["event_ids"] for bot in after_one] == [[other]]
    assert sandbox.live_bots() == []


def test_deleting_one_of_two_events_keeps_the_bot(sandbox: Sandbox) -> None:
    one, other = two_events(sandbox)
    sandbox.schedule(one)
    sandbox.schedule(other)

    sandbox.call("DELETE", f"/_emulator/events/{one}")

    assert [bot["event_ids"] for bot in sandbox.live_bots()] == [[other]]


def test_a_new_key_takes_the_event_to_a_new_bot_and_leaves_the_sharer(sandbox: Sandbox) -> None:
    one, other = two_events(sandbox)
    sandbox.schedule(one)
    sandbox.schedule(other)

    row = sandbox.schedule(one, "new").json()

    assert sorted(bot["event_ids"] for bot in sandbox.live_bots()) == sorted([[other], [one]])
    assert [ref["deduplication_key"] for ref in row["bots"]] == ["new"]


def test_booking_again_replaces_the_whole_configuration(sandbox: Sandbox) -> None:
    event = sandbox.an_event()["id"]
    sandbox.schedule(event, config={"bot_name": "A", "metadata": {"x": "1"}})

    sandbox.schedule(event, config={"bot_name": "B"})

    bot = sandbox.live_bots()[0]
    assert (bot["bot_name"], bot["metadata"]) == ("B", {})


@pytest.mark.parametrize(("last_wins", "name"), [(True, "B"), (False, "A")])
def test_whose_configuration_a_shared_bot_has_is_a_switch(
    sandbox: Sandbox, last_wins: bool, name: str
) -> None:
    sandbox.patch("/_emulator/switches", {"shared_bot_config_last_writer_wins": last_wins})
    one, other = two_events(sandbox)
    sandbox.schedule(one, config={"bot_name": "A"})
    sandbox.schedule(other, config={"bot_name": "B"})

    assert [bot["bot_name"] for bot in sandbox.live_bots()] == [name]


@pytest.mark.parametrize("adopts", [True, False])
def test_the_same_key_after_a_move_keeps_or_replaces_the_bot(sandbox: Sandbox, adopts: bool) -> None:
    sandbox.patch("/_emulator/switches", {"adopt_stable_keys": adopts})
    event = sandbox.an_event()["id"]
    sandbox.schedule(event)
    before = sandbox.live_bots()[0]["id"]
    moved = sandbox.patch(f"/_emulator/events/{event}", {"start": iso(NOW + timedelta(hours=4))})

    sandbox.schedule(event)

    after = sandbox.live_bots()
    assert [bot["join_at"] for bot in after] == [moved["start_time"]]
    assert (after[0]["id"] == before) is adopts


def test_a_dumb_provider_ignores_deduplication_keys(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"deduplication_key_ignored": True})
    one, other = two_events(sandbox)
    for event in (one, other, other):
        sandbox.schedule(event)

    assert sorted(bot["event_ids"] for bot in sandbox.live_bots()) == sorted([[one], [other]])


def test_parallel_work_on_one_key_is_a_conflict(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"schedule_latency_ms": 30})
    one, other = two_events(sandbox)
    body = {"json": {"deduplication_key": "k", "bot_config": {}}}

    answers = sandbox.calls(*(("POST", f"{EVENTS}{event}/bot/", body) for event in (one, other)))

    assert sorted(answer.status_code for answer in answers) == [200, 409]


def test_unscheduling_twice_is_fine_and_an_unknown_event_is_404(sandbox: Sandbox) -> None:
    event = sandbox.an_event()["id"]
    sandbox.schedule(event)

    assert [unschedule(sandbox, event).status_code for _ in range(2)] == [200, 200]
    assert unschedule(sandbox, "00000000-0000-4000-8000-000000000000").status_code == 404


@pytest.mark.parametrize(("refused", "status"), [(False, 200), (True, 400)])
def test_unscheduling_a_deleted_event_is_a_switch(sandbox: Sandbox, refused: bool, status: int) -> None:
    sandbox.patch("/_emulator/switches", {"unschedule_on_deleted_event_refused": refused})
    event = sandbox.an_event()["id"]
    sandbox.call("DELETE", f"/_emulator/events/{event}")

    assert unschedule(sandbox, event).status_code == status


def test_what_cannot_be_booked_is_refused_in_the_envelope(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    ended = sandbox.an_event(calendar, start=iso(NOW - timedelta(hours=2)))["id"]
    linkless = sandbox.an_event(calendar, link=None)["id"]
    deleted = sandbox.an_event(calendar)["id"]
    sandbox.call("DELETE", f"/_emulator/events/{deleted}")

    answers = [sandbox.schedule(event) for event in (ended, linkless, deleted)]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert answers[0].json()["code"] == "invalid_request_data"
    assert answers[0].json()["errors"] == {
        "non_field_errors": ["Cannot schedule bot as calendar event has ended."]
    }


def test_an_event_of_a_disconnected_calendar_cannot_be_booked(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    event = sandbox.an_event(calendar)["id"]
    sandbox.post(f"/_emulator/calendars/{calendar}/disconnect")

    assert sandbox.schedule(event).status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"bot_config": {}}, "deduplication_key"),
        ({"deduplication_key": "k"}, "bot_config"),
        ({"deduplication_key": "k" * 2001, "bot_config": {}}, "deduplication_key"),
        ({"deduplication_key": "k", "bot_config": {"join_at": {}}}, "join_at"),
        ({"deduplication_key": "k", "bot_config": {"bot_name": "n" * 101}}, "bot_name"),
        ({"deduplication_key": "k", "bot_config": {"metadata": {"a": 1}}}, "metadata"),
    ],
)
def test_a_bad_booking_names_its_field(sandbox: Sandbox, body: dict[str, Any], field: str) -> None:
    answer = sandbox.call("POST", f"{EVENTS}{sandbox.an_event()['id']}/bot/", json=body)

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])


def test_a_booking_may_bump_the_row_and_announce_it(sandbox: Sandbox) -> None:
    event = sandbox.an_event()
    calm = sandbox.schedule(event["id"]).json()
    sandbox.patch(
        "/_emulator/switches", {"schedule_bumps_updated_at": True, "schedule_sends_sync_events": True}
    )

    stirred = sandbox.schedule(event["id"], "other").json()

    assert calm["updated_at"] == event["updated_at"] < stirred["updated_at"]
    assert sandbox.sent()[-1]["data"]["last_updated_ts"] == stirred["updated_at"].replace("Z", "+00:00")


def test_a_near_meeting_takes_a_bot_from_the_pool_until_it_is_empty(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"pool_size": 1, "pool_refill_s": 60})
    calendar = sandbox.a_calendar()
    near = [sandbox.an_event(calendar, start=iso(NOW + timedelta(minutes=9)))["id"] for _ in range(2)]
    far = sandbox.an_event(calendar, start=iso(NOW + timedelta(minutes=10)))["id"]

    answers = [sandbox.schedule(event, event) for event in (*near, far)]
    sandbox.pass_(seconds=60)

    assert [answer.status_code for answer in answers] == [200, 507, 200]
    assert answers[1].headers["retry-after"] == "30"
    assert sandbox.schedule(near[1], near[1]).status_code == 200


def test_repeating_a_near_booking_takes_no_second_machine(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"pool_size": 1})
    event = sandbox.an_event(start=iso(NOW + timedelta(minutes=5)))["id"]

    assert [sandbox.schedule(event).status_code for _ in range(3)] == [200, 200, 200]


def test_the_clock_takes_a_bot_through_its_call(sandbox: Sandbox) -> None:
    event = sandbox.an_event(start=iso(NOW + timedelta(hours=1)))["id"]
    bot = sandbox.schedule(event).json()["bots"][0]["bot_id"]

    sandbox.pass_(hours=1, seconds=10)
    during = states(sandbox, bot)
    sandbox.pass_(hours=1)

    assert during == ["joining_call", "in_call_not_recording", "in_call_recording"]
    assert states(sandbox, bot) == [*during, "call_ended", "done"]
    assert [each["event"] for each in sandbox.sent("bot.")] == [
        f"bot.{code}" for code in [*during, "call_ended", "done"]
    ]
    assert sandbox.live_bots() == []


def test_a_bot_that_joined_has_no_join_time_any_more(sandbox: Sandbox) -> None:
    bot = a_bot(sandbox)["id"]
    before = sandbox.get(f"{BOTS}{bot}/")["join_at"]

    sandbox.pass_(hours=1)

    assert (before, sandbox.get(f"{BOTS}{bot}/")["join_at"]) == (iso(NOW + timedelta(hours=1)), None)


def test_a_bot_without_join_time_joins_at_once(sandbox: Sandbox) -> None:
    made = sandbox.post(BOTS, {"meeting_url": ZOOM})

    assert [change["code"] for change in made["status_changes"]] == ["joining_call"]
    assert made["meeting_url"] == {
        "meeting_id": "123456789",
        "meeting_password": "secret",
        "platform": "zoom",
    }


def test_a_dispatched_bot_cannot_be_deleted_but_can_leave(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"dispatch_before_s": 300})
    bot = a_bot(sandbox)["id"]
    sandbox.pass_(minutes=56)

    refused = sandbox.call("DELETE", f"{BOTS}{bot}/")
    left = sandbox.call("POST", f"{BOTS}{bot}/leave_call/")
    sandbox.pass_(hours=2)

    assert (refused.status_code, left.status_code) == (405, 200)
    assert states(sandbox, bot) == ["call_ended", "done"]


def test_leaving_before_the_start_and_after_the_end_is_refused(sandbox: Sandbox) -> None:
    bot = a_bot(sandbox)["id"]
    early = sandbox.call("POST", f"{BOTS}{bot}/leave_call/")
    sandbox.pass_(hours=5)
    late = sandbox.call("POST", f"{BOTS}{bot}/leave_call/")

    assert (early.status_code, early.json()["code"]) == (400, "cannot_command_unstarted_bot")
    assert (late.status_code, late.json()["code"]) == (400, "cannot_command_completed_bot")


def test_a_bot_sent_out_is_no_longer_shared(sandbox: Sandbox) -> None:
    one, other = two_events(sandbox)
    sandbox.schedule(one)
    sandbox.pass_(hours=2, minutes=1)

    sandbox.schedule(other)
    unschedule(sandbox, one)

    assert len(sandbox.live_bots()) == 2
    assert len(sandbox.get(f"{EVENTS}{one}/")["bots"]) == 1


def test_a_bot_of_ones_own_can_be_moved_and_deleted(sandbox: Sandbox) -> None:
    bot = a_bot(sandbox, metadata={"a": "b"})["id"]
    later = iso(NOW + timedelta(hours=3))

    moved = sandbox.patch(f"{BOTS}{bot}/", {"join_at": later, "meeting_url": MEET})

    assert (moved["join_at"], moved["meeting_url"]["platform"], moved["metadata"]) == (
        later,
        "google_meet",
        {"a": "b"},
    )
    assert sandbox.call("DELETE", f"{BOTS}{bot}/").status_code == 204
    assert sandbox.call("GET", f"{BOTS}{bot}/").status_code == 404


def test_a_bot_cannot_be_moved_into_the_next_ten_minutes_nor_once_it_left(sandbox: Sandbox) -> None:
    bot = a_bot(sandbox)["id"]
    near = sandbox.call("PATCH", f"{BOTS}{bot}/", json={"join_at": iso(NOW + timedelta(minutes=5))})
    sandbox.pass_(hours=1)
    gone = sandbox.call("PATCH", f"{BOTS}{bot}/", json={"bot_name": "x"})

    assert (near.status_code, near.json()["code"]) == (400, "update_bot_failed")
    assert gone.status_code == 400


def test_a_managed_bot_cannot_be_patched(sandbox: Sandbox) -> None:
    sandbox.schedule(sandbox.an_event()["id"])
    bot = sandbox.live_bots()[0]["id"]

    assert sandbox.call("PATCH", f"{BOTS}{bot}/", json={"bot_name": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("answer", "status", "refs", "live"),
    [("detaches", 204, 0, 0), ("refused", 400, 1, 1), ("leaves_reference", 204, 1, 0)],
)
def test_deleting_a_managed_bot_is_a_switch(
    sandbox: Sandbox, answer: str, status: int, refs: int, live: int
) -> None:
    sandbox.patch("/_emulator/switches", {"delete_on_managed_bot": answer})
    event = sandbox.an_event()["id"]
    sandbox.schedule(event)

    deleted = sandbox.call("DELETE", f"{BOTS}{sandbox.live_bots()[0]['id']}/")

    assert deleted.status_code == status
    assert len(sandbox.get(f"{EVENTS}{event}/")["bots"]) == refs
    assert len(sandbox.live_bots()) == live


def test_bots_are_listed_by_page_and_filtered(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"bots_page_size": 2, "enabled": False})
    early = a_bot(sandbox, metadata={"slot": "1"})["id"]
    later = a_bot(sandbox, join_at=iso(NOW + timedelta(hours=8)), meeting_url=MEET)["id"]
    joined = sandbox.post(BOTS, {"meeting_url": ZOOM})["id"]

    def ids(query: str) -> set[str]:
        return {bot["id"] for bot in sandbox.get(f"{BOTS}?{query}")["results"]}

    first = sandbox.get(BOTS)
    assert (first["count"], len(first["results"]), first["previous"]) == (3, 2, None)
    assert len(sandbox.get(first["next"])["results"]) == 1
    assert sandbox.call("GET", f"{BOTS}?page=9").status_code == 404
    assert ids("metadata__slot=1") == {early}
    assert ids(f"join_at_after={iso(NOW + timedelta(hours=2))}") == {later}
    assert ids(f"join_at_before={iso(NOW + timedelta(hours=2))}") == {early}
    assert ids("platform=google_meet") == {later}
    assert ids("status=joining_call") == {joined}
    assert ids(f"meeting_url={MEET}") == {later}


def test_a_new_bot_may_be_late_in_the_list(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"bot_list_lag_s": 5})
    bot = a_bot(sandbox)["id"]
    early = sandbox.get(BOTS)["count"]

    sandbox.pass_(seconds=5)

    assert (early, sandbox.get(BOTS)["count"]) == (0, 1)
    assert sandbox.get(f"{BOTS}{bot}/")["id"] == bot


def test_the_control_api_drives_states_and_places_foreign_bots(sandbox: Sandbox) -> None:
    bot = sandbox.post(
        "/_emulator/bots", {"meeting_url": ZOOM, "join_at": iso(NOW + timedelta(hours=1))}
    )["id"]

    sandbox.post(f"/_emulator/bots/{bot}/state", {"code": "fatal", "sub_code": "meeting_not_found"})

    assert sandbox.sent("bot.")[-1]["data"]["data"]["sub_code"] == "meeting_not_found"
    assert sandbox.live_bots() == []


def test_status_changes_may_go_by_their_old_name(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"legacy_bot_webhooks": True})
    bot = sandbox.post(BOTS, {"meeting_url": ZOOM})["id"]

    sent = sandbox.sent("bot.")[0]

    assert (sent["event"], sent["data"]["bot_id"], sent["data"]["status"]["code"]) == (
        "bot.status_change",
        bot,
        "joining_call",
    )


def test_history_tells_which_bots_lived_when(sandbox: Sandbox) -> None:
    event = sandbox.an_event()["id"]
    sandbox.schedule(event)
    sandbox.patch(f"/_emulator/events/{event}", {"start": iso(NOW + timedelta(hours=4))})
    sandbox.schedule(event)
    unschedule(sandbox, event)

    kinds = [record["kind"] for record in sandbox.get("/_emulator/history?kind=bot.")["records"]]

    assert kinds == [
        "bot.created",
        "bot.attached",
        "bot.moved",
        "bot.configured",
        "bot.detached",
        "bot.deleted",
    ]
