"""
Google Meet on an event: asked for by createRequest, made a little later, ignored without version 1.

Source: developers.google.com/workspace/calendar/api/guides/create-events (conferencing) and the reference of
conferenceData.
"""

from __future__ import annotations

import random
from datetime import timedelta

from worker.sandbox.google.copies import spread, touch
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import EventRow
from worker.sandbox.google.world import World
from worker.sandbox.recall.forms import Json

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CREATABLE = frozenset({"hangoutsMeet", "addOn"})


def take_conference(world: World, row: EventRow, given: object, *, version: int) -> bool:
    """
    Let *row* have the conference that a body asks for; True if that changes it.

    Version 0 leaves everything as it is; None takes the conference away; a request id used before is ignored.

    Raises:
        Refusal: neither a request nor a solution with an entry point.
    """
    if version < 1:
        return False
    before = row.data.get("conferenceData")
    if given is None:
        row.data.pop("conferenceData", None)
        row.data.pop("hangoutLink", None)
        return before is not None
    if not isinstance(given, dict):
        raise Refusal("parseError")
    request = given.get("createRequest")
    if isinstance(request, dict) and "status" not in request:
        return _ask(world, row, request)
    if not given.get("conferenceSolution") or not given.get("entryPoints"):
        if given == before:
            return False
        raise Refusal("invalid", "Invalid conference data.")
    row.data["conferenceData"] = given
    video = (e["uri"] for e in given["entryPoints"] if e.get("entryPointType") == "video")
    is_meet = given["conferenceSolution"].get("key", {}).get("type") == "hangoutsMeet"
    link = next(video, None) if is_meet else None
    row.data.pop("hangoutLink", None)
    if link:
        row.data["hangoutLink"] = link
    return given != before


def settle_conference(row: EventRow, outcome: str, chance: random.Random) -> None:
    """Answer a pending request: success fills the entry points, failure leaves the request alone."""
    data = row.data.get("conferenceData") or {}
    request = data.get("createRequest")
    if not request:
        return
    request = request | {"status": {"statusCode": outcome}}
    if outcome != "success":
        row.data["conferenceData"] = {"createRequest": request}
        return
    code = "-".join("".join(chance.choices(LETTERS, k=length)) for length in (3, 4, 3))
    link = f"https://meet.google.com/{code}"
    row.data["conferenceData"] = meet_at(link) | {"createRequest": request}
    row.data["hangoutLink"] = link


def meet_at(link: str) -> Json:
    """Return the conference of a Meet link."""
    code = link.rpartition("/")[2]
    return {
        "conferenceId": code,
        "conferenceSolution": {
            "key": {"type": "hangoutsMeet"},
            "name": "Google Meet",
            "iconUri": "https://fonts.gstatic.com/s/i/productlogos/meet_2020q4/v6/web-512dp/logo.png",
        },
        "entryPoints": [
            {"entryPointType": "video", "uri": link, "label": link.removeprefix("https://")}
        ],
    }


def _ask(world: World, row: EventRow, request: Json) -> bool:
    request_id = request.get("requestId")
    kind = (request.get("conferenceSolutionKey") or {}).get("type", "hangoutsMeet")
    if not request_id or kind not in CREATABLE:
        raise Refusal("invalid", "Invalid conference type value.")
    if request_id in row.request_ids:
        return False
    row.request_ids.add(request_id)
    pending = {
        "requestId": request_id,
        "conferenceSolutionKey": {"type": kind},
        "status": {"statusCode": "pending"},
    }
    row.data["conferenceData"] = {"createRequest": pending}
    row.data.pop("hangoutLink", None)
    outcome = world.switches.conference_requests
    if outcome == "pending":
        return True
    if world.limits.conference_ms <= 0:
        settle_conference(row, outcome, world.chance)
    else:
        wait = timedelta(milliseconds=world.limits.conference_ms)
        world.agenda.add(world.now() + wait, lambda: _settle_later(world, row, outcome))
    return True


def _settle_later(world: World, row: EventRow, outcome: str) -> None:
    settle_conference(row, outcome, world.chance)
    touch(world, row, "conference")
    spread(world, row)
