"""
`/_emulator/`: what no client of Recall can do. Change calendars, break things, move time, look inside.

`?workspace=<api key>` chooses the workspace (made on first use); bodies and answers are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.sandbox.recall import control_calendars, control_inside
from worker.sandbox.recall.answers import ApiError
from worker.sandbox.recall.control_calls import Asked, Unknown
from worker.sandbox.recall.forms import instant
from worker.sandbox.recall.switches import replaced
from worker.sandbox.recall.world import World

Action = Callable[[Asked], object]


def routes(world: World) -> list[Route]:
    """List the routes of the control API over *world*."""
    by_path: dict[str, dict[str, Action]] = {}
    for method, path, action in ACTIONS:
        by_path.setdefault(path, {})[method] = action
    return [
        Route("/_emulator" + path, _endpoint(world, actions), methods=list(actions))
        for path, actions in by_path.items()
    ]


def _endpoint(world: World, actions: dict[str, Action]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else {}
            ws = world.workspace(request.query_params.get("workspace"))
            ws.tick()
            asked = Asked(world, ws, body, request.path_params, request.query_params)
            result = actions[request.method](asked)
            if isinstance(result, Awaitable):
                result = await result
        except Unknown as error:
            return JSONResponse({"error": str(error)}, 404)
        except ApiError as error:
            return JSONResponse({"error": error.answer.body}, 409)
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
        world.pulse()
        world.wake()
        return JSONResponse(result)

    return endpoint


async def set_clock(asked: Asked) -> object:
    """
    Choose the mode, set or advance the time; advancing delivers the webhooks due on the way.

    `ahead_seconds` makes the real clock wrong, for rows and `Date` alike.
    """
    body, world = asked.body, asked.world
    mode = body.get("mode")
    if mode not in (None, "real", "virtual"):
        raise ValueError("mode is real or virtual")
    if "ahead_seconds" in body:
        world.clock.ahead = timedelta(seconds=float(body["ahead_seconds"]))
    if mode == "real" or "ahead_seconds" in body:
        world.clock.jump(None)
    elif mode == "virtual" or "now" in body:
        world.clock.jump(instant(body["now"]) if "now" in body else world.clock.now())
    if seconds := float(body.get("advance_seconds") or 0):
        if not world.clock.is_virtual:
            raise ValueError("only a virtual clock can be advanced; send mode: virtual")
        await world.advance(seconds, settle=bool(body.get("settle", True)))
    return {
        "mode": "virtual" if world.clock.is_virtual else "real",
        "now": asked.ws.text(world.clock.now()),
        "ahead_seconds": world.clock.ahead.total_seconds(),
    }


def set_switches(asked: Asked) -> object:
    """Flip the switches named and show all."""
    asked.ws.switches = replaced(asked.ws.switches, asked.body)
    return asdict(asked.ws.switches)


def set_limits(asked: Asked) -> object:
    """Change the numbers named and show all."""
    asked.ws.limits = replaced(asked.ws.limits, asked.body)
    return asdict(asked.ws.limits)


def set_webhook(asked: Asked) -> object:
    """Change what is named, keep the rest, enable the endpoint again; `seed` makes chances repeatable."""
    wish = dict(asked.body)
    if (seed := wish.pop("seed", None)) is not None:
        asked.ws.random.seed(seed)
    asked.ws.outgoing.configure(asked.ws.outgoing.endpoint.with_changes(wish))
    return asdict(asked.ws.outgoing.endpoint)


def order_fault(asked: Asked) -> object:
    """Order one fault or a list of them."""
    wishes = asked.body if isinstance(asked.body, list) else [asked.body]
    orders = [asdict(asked.ws.faults.order(wish)) for wish in wishes]
    return orders if isinstance(asked.body, list) else orders[0]


def list_faults(asked: Asked) -> object:
    """List ordered faults with their hits."""
    return [asdict(fault) for fault in asked.ws.faults.orders]


def clear_faults(asked: Asked) -> object:
    """Withdraw all faults."""
    cleared = len(asked.ws.faults.orders)
    asked.ws.faults.orders.clear()
    return {"cleared": cleared}


def reset(asked: Asked) -> object:
    """Empty the workspace; a `seed` makes ids and chances repeatable."""
    asked.world.reset(asked.ws.key, asked.body.get("seed"))
    return {"workspace": asked.ws.key}


ACTIONS: tuple[tuple[str, str, Action], ...] = (
    ("GET", "/state", control_inside.state),
    ("GET", "/history", control_inside.history),
    ("GET", "/requests", control_inside.requests),
    ("DELETE", "/requests", control_inside.forget_requests),
    ("GET", "/deliveries", control_inside.deliveries),
    ("POST", "/deliveries/replay", control_inside.replay),
    ("GET", "/bots", control_inside.bots_list),
    ("POST", "/bots", control_inside.foreign_bot),
    ("POST", "/bots/{id}/state", control_inside.bot_state),
    ("DELETE", "/bots/{id}", control_inside.bot_delete),
    ("POST", "/reset", reset),
    ("POST", "/clock", set_clock),
    ("GET", "/switches", lambda asked: asdict(asked.ws.switches)),
    ("PATCH", "/switches", set_switches),
    ("GET", "/limits", lambda asked: asdict(asked.ws.limits)),
    ("PATCH", "/limits", set_limits),
    ("GET", "/webhook", lambda asked: asdict(asked.ws.outgoing.endpoint)),
    ("PUT", "/webhook", set_webhook),
    ("GET", "/faults", list_faults),
    ("POST", "/faults", order_fault),
    ("DELETE", "/faults", clear_faults),
    ("GET", "/calendars", control_calendars.calendars_list),
    ("POST", "/calendars", control_calendars.calendar_create),
    ("POST", "/calendars/{id}/disconnect", control_calendars.calendar_disconnect),
    ("POST", "/calendars/{id}/reconnect", control_calendars.calendar_reconnect),
    ("GET", "/calendars/{id}/events", control_calendars.events_list),
    ("POST", "/calendars/{id}/events", control_calendars.event_create),
    ("POST", "/events:batch", control_calendars.events_batch),
    ("GET", "/events/{id}", control_calendars.event_show),
    ("PATCH", "/events/{id}", control_calendars.event_edit),
    ("DELETE", "/events/{id}", control_calendars.event_delete),
    ("POST", "/events/{id}/cancel", control_calendars.event_cancel),
)
