"""The API beside the receiver, in the whole application, over a real socket."""

from __future__ import annotations

import httpx

from tests.builders import a_calendar
from tests.webhooks.api.fakes import Api
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
