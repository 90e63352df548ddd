"""Faults on order: what they do to an answer, and whether the call was carried out."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.microsoft.driving import WEEK, Graph, Person, Remote, an_event
from worker.sandbox.recall.gate import ConnectionCut


def order(graph: Graph, **wish: Any) -> None:
    graph.control("POST", "/faults", {"times": 1, **wish})


def test_a_status_comes_in_graphs_own_form_and_nothing_is_done(graph: Graph, anna: Person) -> None:
    order(
        graph, status=429, code="ApplicationThrottled", retry_after=7, path="/me/events", method="POST"
    )

    answer = anna.call("POST", "/me/events", json=an_event())

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["code"] == "ApplicationThrottled"
    assert anna.view() == []
    assert anna.event()["id"]


def test_an_error_may_hide_that_the_call_was_carried_out(graph: Graph, anna: Person) -> None:
    order(graph, status=503, execute=True, path="/me/events")

    assert anna.refused("POST", "/me/events", json=an_event()) == (503, "ErrorServerBusy")
    assert len(anna.view()) == 1


@pytest.mark.parametrize(("kind", "events"), [("drop", 0), ("lost_answer", 1)])
def test_a_connection_is_cut_before_or_after_the_effect(
    graph: Graph, anna: Person, kind: str, events: int
) -> None:
    order(graph, kind=kind, path="/me/events", method="POST")

    with pytest.raises(ConnectionCut):
        anna.call("POST", "/me/events", json=an_event())

    assert len(anna.view()) == events


def test_a_cut_connection_is_cut_on_the_wire_too(remote: Remote) -> None:
    remote.control("POST", "/faults", {"kind": "drop", "times": 1})

    with pytest.raises(httpx.RemoteProtocolError):
        remote.graph("GET", "/me")

    assert remote.graph("GET", "/me").is_success


def test_html_and_half_an_answer_are_on_offer(graph: Graph, anna: Person) -> None:
    order(graph, kind="html")
    html = anna.call("GET", "/me")
    order(graph, kind="truncate")
    half = anna.call("GET", "/me")

    assert (html.status_code, html.text.startswith("<!doctype html>")) == (502, True)
    with pytest.raises(ValueError, match=r"."):
        half.json()


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        ("foreign_next", "https://evil.example/v1.0/me/calendarView/delta?$skiptoken=MQ"),
        ("repeated_next", "http://graph.test/v1.0/me/calendarView?"),
        ("lost_page", None),
    ],
)
def test_paging_is_led_astray(graph: Graph, anna: Person, kind: str, link: str | None) -> None:
    for _ in range(3):
        anna.event()
    order(graph, kind=kind)

    found = anna.get("/me/calendarView", **WEEK, _top=2).get("@odata.nextLink")

    assert found is None if link is None else found.startswith(link)


def test_a_page_may_lose_its_rows(graph: Graph, anna: Person) -> None:
    anna.event()
    order(graph, kind="emptied_page", operation="calendar_view")

    assert anna.view() == []
    assert len(anna.view()) == 1


def test_a_fault_is_aimed_at_one_account_and_operation(graph: Graph, anna: Person, ben: Person) -> None:
    order(graph, status=500, account=ben.email, operation="^delta$")

    assert anna.call("GET", "/me/calendarView/delta", params=WEEK).status_code == 200
    assert ben.call("GET", "/me/calendarView", params=WEEK).status_code == 200
    assert ben.call("GET", "/me/calendarView/delta", params=WEEK).status_code == 500


def test_values_of_the_wrong_type_are_on_offer(graph: Graph, anna: Person) -> None:
    order(graph, kind="wrong_type")

    assert anna.get("/me")["mail"] == 42
