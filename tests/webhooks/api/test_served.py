"""The API beside the receiver, in the whole application, over a real socket."""

from __future__ import annotations

import httpx
import pytest

from models.db import make_engine
from tests.builders import a_calendar
from tests.webhooks.api.fakes import Api, code_of
from tests.webhooks.gate import gate_to
from webhooks.app import create_app
from webhooks.server import serving


def test_the_application_serves_the_api(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db)
    headers = {"Authorization": f"Bearer {api.key}"}

    with serving(create_app(api.rt)) as url, httpx.Client(base_url=url, headers=headers) as client:
        shown = client.get(f"/v1/calendars/{calendar_id}")
        head = client.head("/v1/calendars")
        documents = [client.get(path) for path in ("/openapi.json", "/asyncapi.json", "/docs")]
        large = client.put("/v1/rules", content=b"[" + b"1," * 1_000_000 + b"1]")
        removed = client.request("DELETE", f"/v1/calendars/{calendar_id}", content=b"ignored")
        unknown = client.get("/v1/nothing")

    assert (shown.status_code, shown.json()["id"]) == (200, str(calendar_id))
    assert (head.status_code, head.content) == (200, b"")
    assert [response.status_code for response in documents] == [200, 200, 200]
    assert (large.status_code, removed.status_code, unknown.status_code) == (413, 204, 404)


def test_who_reads_is_answered_though_the_database_hangs(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.api.serving.ANSWERED_WITHIN_S", 0.5)
    with gate_to(database_url) as gate:
        engine = make_engine(gate.url)
        api.restart(db=engine)
        before = api.call("GET", "/v1/calendars")
        gate.freeze()
        hanging = api.call("GET", "/v1/calendars")
        gate.open()
        after = api.call("GET", "/v1/calendars")
        engine.dispose()

    assert [each.status_code for each in (before, hanging, after)] == [200, 503, 200]
    assert code_of(hanging) == "database_unavailable"
    assert int(hanging.headers["retry-after"]) > 0
