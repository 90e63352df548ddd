"""JSON Schemas of what domain events carry; open, so that a field added later breaks nobody."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from models.domain.emitted import Type
from webhooks.api.bots import Bot
from webhooks.api.calendars import Calendar
from webhooks.api.events import Event
from webhooks.api.shapes import Id, Shape

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Not one of the contract's types: what POST /v1/endpoints/{id}/test posts.
TEST = "punctual.test"

_Changed = Annotated[list[str], Field(description="The fields that changed.")]
_Previous = Annotated[dict[str, Any], Field(description="Their values before.")]


class CalendarData(Calendar):
    """A calendar after the change."""

    changed: _Changed = Field(default=[])
    previous: _Previous = Field(default={})


class EventData(Event):
    """A calendar event after the change; its link without passcode."""

    changed: _Changed = Field(default=[])
    previous: _Previous = Field(default={})


class BotData(Bot):
    """A bot after the change; its link without passcode."""

    changed: _Changed = Field(default=[])
    previous: _Previous = Field(default={})


class TrialData(Shape):
    """A test."""

    endpoint_id: Id
    message: str


SUMMARY_BY_TYPE = {
    Type.CALENDAR_CONNECTED: "A calendar is connected, for the first time or again.",
    Type.CALENDAR_NEEDS_REAUTH: "A calendar's user has to connect again.",
    Type.CALENDAR_DISCONNECTED: "A calendar is disconnected; its bots are taken away.",
    Type.CALENDAR_DELETED: "A calendar is no longer followed.",
    Type.EVENT_CREATED: "A calendar event became known.",
    Type.EVENT_UPDATED: "A calendar event changed, or the decision about it.",
    Type.EVENT_DELETED: "A calendar event is gone from its calendar.",
    Type.BOT_SCHEDULED: "A bot stands at the provider; its id is known.",
    Type.BOT_RESCHEDULED: "A bot's time, link or configuration moved.",
    Type.BOT_CANCELLED: "A bot is gone.",
    Type.BOT_STATUS_CHANGED: "A bot is joining, in the call or done.",
    Type.BOT_FAILED: "A bot could not be put in place, or failed in the call.",
}
TYPES: tuple[str, ...] = (*SUMMARY_BY_TYPE, TEST)
_MODEL_BY_FAMILY: dict[str, type[Shape]] = {
    "calendar": CalendarData,
    "calendar_event": EventData,
    "bot": BotData,
    "punctual": TrialData,
}


def model_of(event_type: str) -> type[Shape]:
    """Return the model of a domain event's data."""
    return _MODEL_BY_FAMILY[event_type.partition(".")[0]]


def data_schema(event_type: str, base_url: str) -> dict[str, Any]:
    """Return the JSON Schema of a domain event's data, as `dataschema` names it."""
    schema = opened(without_titles(model_of(event_type).model_json_schema()))
    return {
        "$schema": DIALECT,
        "$id": f"{base_url}/schemas/{event_type}.json",
        "title": event_type,
        **schema,
    }


def opened(schema: Any) -> Any:  # noqa: ANN401  # any part of a schema
    """Return a schema that lets unknown fields pass."""
    if isinstance(schema, dict):
        return {
            name: opened(part)
            for name, part in schema.items()
            if not (name == "additionalProperties" and part is False)
        }
    return [opened(part) for part in schema] if isinstance(schema, list) else schema


def without_titles(schema: Any) -> Any:  # noqa: ANN401  # any part of a schema
    """Return a schema without the titles that pydantic makes up from names."""
    if isinstance(schema, dict):
        return {
            name: without_titles(part)
            for name, part in schema.items()
            if not (name == "title" and isinstance(part, str))
        }
    return [without_titles(part) for part in schema] if isinstance(schema, list) else schema
