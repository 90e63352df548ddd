"""Which paths of Graph v1.0 are here, and what stands behind them. Paths are compared in any case."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from worker.sandbox.microsoft import api_calendars, api_events, api_views, schedule
from worker.sandbox.microsoft.api_subscriptions import SubscriptionCalls
from worker.sandbox.microsoft.asking import Asked
from worker.sandbox.microsoft.delta import Rounds
from worker.sandbox.recall.answers import Answer

Operation = Callable[[Asked], Answer] | Callable[[Asked], Awaitable[Answer]]

VERSION = "/v1.0"
PEOPLE = ("/me", "/users/{user}")
CALENDARS = ("", "/calendar", "/calendars/{calendar_id}")
DELTAS = ("/delta", "/delta()", "/microsoft.graph.delta()", "/microsoft.graph.delta")
_KEY = re.compile(r"\('([^']*)'\)")  # OData's other spelling: events('…') is events/…


@dataclass(frozen=True, slots=True)
class Place:
    """One path: its operations by method, each with the name that the history calls it by."""

    pattern: re.Pattern[str]
    operations: Mapping[str, tuple[str, Operation]]
    is_of_mailbox: bool


class Surface:
    """Find the operation of a method and a path."""

    def __init__(self, rounds: Rounds, calls: SubscriptionCalls) -> None:
        self._places = [
            _place(person + path, operations)
            for path, operations in _mailbox_paths(rounds).items()
            for person in PEOPLE
        ]
        self._places += [_place(path, found) for path, found in _subscription_paths(calls).items()]

    def find(self, path: str) -> tuple[Place, dict[str, str]] | None:
        """Return the place of a path (without the version) and what its variables are; ids keep their case."""
        written = _KEY.sub(r"/\1", path.rstrip("/"))
        for place in self._places:
            if match := place.pattern.fullmatch(written):
                return place, match.groupdict()
        return None


def _place(template: str, operations: Mapping[str, tuple[str, Operation]]) -> Place:
    parts = re.split(r"\{(\w+)\}", template)
    written = "".join(
        f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)
    )
    is_of_mailbox = template.startswith(PEOPLE) and template not in PEOPLE
    return Place(re.compile(written, re.IGNORECASE), operations, is_of_mailbox)


def _mailbox_paths(rounds: Rounds) -> dict[str, dict[str, tuple[str, Operation]]]:
    paths: dict[str, dict[str, tuple[str, Operation]]] = {
        "": {"GET": ("me", api_calendars.me)},
        "/calendars": {"GET": ("calendars_list", api_calendars.list_)},
        "/calendar": {"GET": ("calendar_get", api_calendars.retrieve)},
        "/calendars/{calendar_id}": {"GET": ("calendar_get", api_calendars.retrieve)},
    }
    for calendar in CALENDARS:
        event = calendar + "/events/{event_id}"
        paths[calendar + "/events"] = {
            "GET": ("events_list", api_events.list_),
            "POST": ("event_create", api_events.create),
        }
        paths[event] = {
            "GET": ("event_get", api_events.retrieve),
            "PATCH": ("event_update", api_events.update),
            "DELETE": ("event_delete", api_events.delete),
        }
        paths[event + "/instances"] = {"GET": ("event_instances", api_views.instances)}
        paths[event + "/cancel"] = {"POST": ("event_cancel", api_events.cancel)}
        for action in ("accept", "decline", "tentativelyAccept"):
            paths[f"{event}/{action}"] = {"POST": (f"event_{action}", api_events.answering(action))}
        view = calendar + "/calendarView"
        paths[view] = {"GET": ("calendar_view", api_views.calendar_view)}
        for name in DELTAS:
            paths[view + name] = {"GET": ("delta", lambda asked: api_views.changes(asked, rounds))}
        if calendar:
            paths[calendar + "/getSchedule"] = {"POST": ("get_schedule", schedule.answer)}
    return paths


def _subscription_paths(calls: SubscriptionCalls) -> dict[str, dict[str, tuple[str, Operation]]]:
    one = "/subscriptions/{subscription_id}"
    return {
        "/subscriptions": {
            "GET": ("subscriptions_list", calls.list_),
            "POST": ("subscription_create", calls.create),
        },
        one: {
            "GET": ("subscription_get", calls.retrieve),
            "PATCH": ("subscription_update", calls.renew),
            "DELETE": ("subscription_delete", calls.delete),
        },
        one + "/reauthorize": {"POST": ("subscription_reauthorize", calls.reauthorize)},
    }
