"""The inbox over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select

from models.tables.base import new_id, new_ids
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.inbox import Delivery
from tests.builders import NOON, a_calendar
from tests.webhooks.api.fakes import Api, code_of
from worker import jobs
from worker.access import Scope


def a_delivery(api: Api, message_id: str = "msg-1", **columns: Any) -> UUID:
    values: dict[str, Any] = {
        "id": new_id(),
        "source": "recall",
        "message_id": message_id,
        "type": "calendar.sync_events",
        "ref": "cal-anna",
        "body": b'{"event":"calendar.sync_events"}',
        "received_at": NOON,
        **columns,
    }
    with api.rt.db.begin() as tx:
        tx.execute(insert(table_of(Delivery)).values(**values))
    delivery_id: UUID = values["id"]
    return delivery_id


def test_deliveries_are_listed_newest_first_and_filtered(api: Api) -> None:
    made = sorted(new_ids(4))  # within a millisecond they sort by chance
    for n, state in enumerate(["stored", "done", "done", "quarantined"]):
        a_delivery(
            api, f"msg-{n}", id=made[n], received_at=NOON + timedelta(minutes=n // 2), state=state
        )
    ids = [str(one) for one in made]

    found = {
        query: [delivery["id"] for delivery in api.get(f"/v1/deliveries?{query}")["data"]]
        for query in (
            "",
            "state=done",
            "source=recall",
            "source=other",
            "received_gte=2026-11-23T12:01:00Z",
        )
    }

    assert list(found.values()) == [ids[::-1], [ids[2], ids[1]], ids[::-1], [], ids[:1:-1]]
    first = api.get("/v1/deliveries?limit=3")
    a_delivery(api, "late", received_at=NOON + timedelta(hours=1))
    rest = api.get(f"/v1/deliveries?limit=3&cursor={first['next']}")
    assert [one["id"] for one in first["data"] + rest["data"]] == ids[::-1]
    assert code_of(api.call("GET", "/v1/deliveries?state=lost")) == "invalid_request"


def test_a_delivery_shows_what_it_said_to_admins_alone(api: Api) -> None:
    path = f"/v1/deliveries/{a_delivery(api, body=bytes([255, 0]) + b'x')}"

    seen = api.get(path)
    hidden = api.get(path, key=api.make_key(Scope.WRITE))

    assert (seen["body"], hidden["body"]) == ("\ufffd\x00x", None)
    assert (seen["message_id"], seen["type"], seen["state"]) == (
        "msg-1",
        "calendar.sync_events",
        "stored",
    )
    assert "body" not in api.get("/v1/deliveries")["data"][0]


def test_a_replayed_delivery_is_acted_on_again_and_revives_its_calendar(api: Api) -> None:
    a_calendar(api.rt.db, parked_at=NOON, crashes=5, wanted=3, done=3)
    delivery_id = a_delivery(api, state="parked", reason="crashed", tries=5, done_at=NOON)

    response = api.call("POST", f"/v1/deliveries/{delivery_id}/replay")

    assert (response.status_code, response.json()["state"], response.json()["reason"]) == (
        202,
        "stored",
        None,
    )
    assert (jobs.TAKE_IN, None) in api.bell.rings
    with api.rt.db.begin() as tx:
        row = tx.execute(select(table_of(Delivery))).mappings().one()
        calendar = tx.execute(select(table_of(Calendar))).mappings().one()
    assert (row["state"], row["tries"], row["done_at"]) == ("stored", 0, None)
    assert (calendar["wanted"], calendar["parked_at"], calendar["crashes"]) == (4, None, 0)


def test_a_delivery_without_a_calendar_can_be_replayed_too(api: Api) -> None:
    delivery_id = a_delivery(api, state="quarantined", ref=None)

    assert api.call("POST", f"/v1/deliveries/{delivery_id}/replay").status_code == 202
