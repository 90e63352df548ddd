"""
A story that passes every point: chapters of things that happen to calendars, meetings and bots.

A chapter is a generator. What comes before its first `yield` is preparation; at each `yield` the
stage lets everything known be acted on. Chapters make what they need and may be told again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

from tests.faults.crashing import Stage
from tests.system.rig import answer

Chapter = Callable[[Stage], Iterator[None]]


def a_meeting_appears_and_is_shared(stage: Stage) -> Iterator[None]:
    anna, ben = stage.people
    yield
    meeting = stage.meeting(anna)
    yield
    stage.meeting(ben, like=meeting)
    yield


def a_meeting_moves(stage: Stage) -> Iterator[None]:
    anna, ben = stage.people
    meeting = stage.meeting(anna)
    copy = stage.meeting(ben, like=meeting)
    yield
    stage.move(meeting)
    stage.move(copy)
    yield


def a_meeting_gets_another_link(stage: Stage) -> Iterator[None]:
    meeting = stage.meeting(stage.people[0])
    yield
    stage.relink(meeting)
    yield


def one_copy_moves_away_from_the_other(stage: Stage) -> Iterator[None]:
    anna, ben = stage.people
    meeting = stage.meeting(anna)
    copy = stage.meeting(ben, like=meeting)
    yield
    stage.move(copy)
    yield


def those_who_came_leave_one_by_one(stage: Stage) -> Iterator[None]:
    anna, ben = stage.people
    meeting = stage.meeting(anna)
    copy = stage.meeting(ben, like=meeting)
    yield
    stage.delete(meeting)
    yield
    stage.delete(copy)
    yield


def a_calendar_is_connected_at_recall(stage: Stage) -> Iterator[None]:
    yield
    ref = stage.calendar()
    stage.meeting(ref)
    yield
    stage.let_time_pass()
    yield


def a_permission_is_lost_and_given_again(stage: Stage) -> Iterator[None]:
    ref = stage.calendar()
    stage.meeting(ref)
    yield
    answer(stage.emulator.post(f"/calendars/{ref}/disconnect", json={"reason": "bad_grant"}))
    yield
    answer(stage.emulator.post(f"/calendars/{ref}/reconnect", json={}))
    yield


def a_calendar_is_removed(stage: Stage) -> Iterator[None]:
    ref = stage.calendar()
    meeting = stage.meeting(ref)
    yield
    stage.call("DELETE", f"/v1/calendars/{stage.ours(ref)}")
    stage.forget(meeting)
    yield


def an_account_is_connected_by_us(stage: Stage) -> Iterator[None]:
    email = f"owner{uuid4().hex[:8]}@example.com"
    account = {
        "source": "recall",
        "platform": "google_calendar",
        "email": email,
        "oauth_client_id": "client",
        "oauth_client_secret": "secret",
        "oauth_refresh_token": f"rt:{email}",
    }
    yield
    stage.call("POST", "/v1/calendars", account)
    yield
    made = stage.call("POST", "/v1/calendars", account)
    yield
    stage.call("PATCH", f"/v1/calendars/{made['id']}", {"owner": "somebody"})
    stage.call("POST", f"/v1/calendars/{made['id']}/sync")
    stage.call("POST", "/v1/calendars", {"source": "recall", "external_id": made["external_id"]})
    yield
    stage.meeting(str(made["external_id"]))
    yield


def a_bot_goes_through_its_call(stage: Stage) -> Iterator[None]:
    meeting = stage.meeting(stage.people[0])
    yield
    (bot,) = stage.bots_of(meeting)
    for code in ("joining_call", "in_call_recording", "done"):
        answer(stage.emulator.post(f"/bots/{bot['id']}/state", json={"code": code}))
        yield
    stage.forget(meeting)
    yield


def a_bot_on_its_way_is_called_back(stage: Stage) -> Iterator[None]:
    meeting = stage.meeting(stage.people[0])
    yield
    (bot,) = stage.bots_of(meeting)
    stage.keep_bot_news_back(kept=True)
    answer(stage.emulator.post(f"/bots/{bot['id']}/state", json={"code": "in_call_recording"}))
    stage.keep_bot_news_back(kept=False)
    stage.delete(meeting)
    yield
    # Where Recall itself took the event's bots away, only the sweep finds one that is in the call.
    stage.have_duties_done()
    yield


def the_rules_change(stage: Stage) -> Iterator[None]:
    meeting = stage.meeting(stage.people[0], title="secret plan")
    yield
    stage.exclude("secret")
    yield
    stage.exclude()
    yield
    found = stage.call("GET", f"/v1/events?calendar_id={stage.ours(stage.people[0])}&limit=200")
    (event,) = [row for row in found["data"] if row["external_id"] == meeting]
    stage.call("PATCH", f"/v1/events/{event['id']}", {"record": False, "scope": "occurrence"})
    stage.oracle.copies.pop(meeting)
    yield
    stage.call("POST", "/v1/rules/simulate", {"rules": {"select": ["all"]}})
    ours = stage.ours(stage.people[1])
    stage.call("PUT", f"/v1/calendars/{ours}/rules", {"select": ["all"]})
    stage.call("DELETE", f"/v1/calendars/{ours}/rules")
    yield
    answer(stage.emulator.delete(f"/events/{meeting}"))
    yield


def a_subscriber_comes_and_goes(stage: Stage) -> Iterator[None]:
    yield
    path = f"/v1/endpoints/{stage.subscribe()}"
    stage.meeting(stage.people[0])
    yield
    stage.call("PATCH", path, {"description": "ours"})
    stage.call("POST", f"{path}/test")
    stage.call("POST", f"{path}/rotate-secret")
    stage.call("GET", f"{path}/attempts")
    stage.call("POST", f"{path}/replay", {"since": "2020-01-01T00:00:00Z"})
    yield
    stage.call("DELETE", path)
    yield


def a_subscriber_is_out_of_order_for_a_while(stage: Stage) -> Iterator[None]:
    meeting = stage.meeting(stage.people[0])
    yield
    stage.is_refusing = True
    stage.move(meeting)
    yield
    stage.is_refusing = False
    stage.let_time_pass()
    yield


def recall_refuses_a_bot(stage: Stage) -> Iterator[None]:
    yield
    stage.fault(kind="status", status=400, method="POST", path="/bot/", times=1)
    meeting = stage.meeting(stage.people[0])
    yield
    stage.call("GET", "/v1/bots?limit=200")
    stage.recover()
    stage.move(meeting)
    yield


def an_answer_of_recalls_is_lost(stage: Stage) -> Iterator[None]:
    yield
    stage.fault(kind="lost_answer", method="POST", path="/bot/", times=3)
    stage.meeting(stage.people[0])
    yield
    stage.let_time_pass()
    yield
    stage.recover()
    stage.let_time_pass()
    yield


def recall_is_down_for_a_moment(stage: Stage) -> Iterator[None]:
    meeting = stage.meeting(stage.people[0])
    yield
    stage.fault(kind="status", status=429, retry_after=2)
    stage.move(meeting)
    yield
    stage.recover()
    stage.let_time_pass()
    yield


def an_event_goes_while_its_bot_comes(stage: Stage) -> Iterator[None]:
    yield
    stage.fault(kind="status", status=404, method="POST", path="/calendar-events/.*/bot/", times=1)
    meeting = stage.meeting(stage.people[0])
    yield
    stage.recover()
    stage.move(meeting)
    yield


def a_bot_of_ours_is_found_astray(stage: Stage) -> Iterator[None]:
    yield
    stage.put_astray_bot()
    stage.have_duties_done()
    yield


def an_operator_looks_after_things(stage: Stage) -> Iterator[None]:
    stage.meeting(stage.people[0])
    yield
    key = stage.call("POST", "/v1/api-keys", {"name": "another", "scopes": ["read"]})
    stage.call("DELETE", f"/v1/api-keys/{key['id']}")
    (delivery, *_) = stage.call("GET", "/v1/deliveries?limit=1")["data"]
    stage.call("POST", f"/v1/deliveries/{delivery['id']}/replay")
    stage.call("GET", "/v1/feed?limit=1")
    yield


CHAPTERS: dict[str, Chapter] = {
    chapter.__name__: chapter
    for chapter in (
        a_meeting_appears_and_is_shared,
        a_meeting_moves,
        a_meeting_gets_another_link,
        one_copy_moves_away_from_the_other,
        those_who_came_leave_one_by_one,
        a_calendar_is_connected_at_recall,
        a_permission_is_lost_and_given_again,
        a_calendar_is_removed,
        an_account_is_connected_by_us,
        a_bot_goes_through_its_call,
        a_bot_on_its_way_is_called_back,
        the_rules_change,
        a_subscriber_comes_and_goes,
        a_subscriber_is_out_of_order_for_a_while,
        recall_refuses_a_bot,
        an_answer_of_recalls_is_lost,
        recall_is_down_for_a_moment,
        an_event_goes_while_its_bot_comes,
        a_bot_of_ours_is_found_astray,
        an_operator_looks_after_things,
    )
}
