"""The AsyncAPI 3.0 document: domain events over AMQP, over HTTP and in the feed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic.json_schema import models_json_schema

from models.domain.emitted import Type
from webhooks.api.openapi import VERSION
from webhooks.api.schemas import (
    SUMMARY_BY_TYPE,
    BotData,
    CalendarData,
    EventData,
    model_of,
    opened,
    without_titles,
)

_REFERENCE = "#/components/schemas/{model}"
_SUBJECTS = {"calendar": "calendar/{id}", "calendar_event": "calendar_event/{id}", "bot": "bot/{id}"}
_STRUCTURED = ".structured"

DESCRIPTION = """\
Every change Punctual makes or notices, as CloudEvents 1.0. A change is told exactly when its transaction
committed; it reaches every channel at least once and, per subject, in order. Drop repeats by `id`; drop stale
ones by (`subject`, `sequence`), which counts 1, 2, 3 … without gaps. The feed is complete and can be read
again from anywhere."""


def asyncapi_document(base_url: str, *, exchange: str) -> dict[str, Any]:
    """Return the whole document; *exchange* is the AMQP exchange that is published to."""
    binary = [str(name) for name in SUMMARY_BY_TYPE]
    structured = [name + _STRUCTURED for name in binary]
    where = urlsplit(base_url)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Punctual domain events", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{broker}",
                "protocol": "amqp",
                "description": "The broker named by PUNCTUAL_EVENTS_URL.",
                "variables": {"broker": {"default": "localhost:5672"}},
            },
            "api": {
                "host": where.netloc,
                "protocol": where.scheme,
                **({"pathname": where.path} if where.path else {}),
            },
        },
        "channels": {
            "exchange": {
                "address": "{type}",
                "title": "AMQP",
                "description": "A durable topic exchange; the routing key is the type. Messages are persistent,"
                " mandatory and confirmed, in the binary mode of CloudEvents; `message_id` is the id.",
                "servers": [{"$ref": "#/servers/broker"}],
                "parameters": {"type": {"description": "The type.", "enum": binary}},
                "messages": _references(binary),
                "bindings": {
                    "amqp": {
                        "is": "routingKey",
                        "exchange": {
                            "name": exchange,
                            "type": "topic",
                            "durable": True,
                            "autoDelete": False,
                        },
                        "bindingVersion": "0.3.0",
                    }
                },
            },
            "endpoint": {
                "address": None,
                "title": "HTTP",
                "description": "The URL of a subscriber (`POST /v1/endpoints`). Signed by Standard Webhooks;"
                " retried for up to three days.",
                "messages": _references(structured),
            },
            "feed": {
                "address": "/v1/feed",
                "title": "Feed",
                "description": "`GET /v1/feed?after=&types=&limit=`: structured CloudEvents from a cursor.",
                "servers": [{"$ref": "#/servers/api"}],
                "messages": _references(structured),
            },
        },
        "operations": {
            "publish": {
                "action": "send",
                "channel": {"$ref": "#/channels/exchange"},
                "messages": _in_channel("exchange", binary),
                "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": "0.3.0"}},
            },
            "post": {
                "action": "send",
                "channel": {"$ref": "#/channels/endpoint"},
                "messages": _in_channel("endpoint", structured),
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            },
            "readFeed": {
                "action": "send",
                "channel": {"$ref": "#/channels/feed"},
                "messages": _in_channel("feed", structured),
                "bindings": {"http": {"method": "GET", "bindingVersion": "0.3.0"}},
            },
        },
        "components": {
            "messages": {
                **{name: _binary(name) for name in binary},
                **{name + _STRUCTURED: _as_structured(name, base_url) for name in binary},
            },
            "schemas": _schemas(),
        },
    }


def _binary(name: str) -> dict[str, Any]:
    return {
        **_about(name),
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": [f"cloudEvents_{attribute}" for attribute in _attributes(name)],
            "properties": {
                f"cloudEvents_{attribute}": schema for attribute, schema in _attributes(name).items()
            },
        },
        "payload": _data(name),
        "bindings": {"amqp": {"messageType": name, "bindingVersion": "0.3.0"}},
    }


def _as_structured(name: str, base_url: str) -> dict[str, Any]:
    attributes = {
        **_attributes(name),
        "dataschema": {"const": f"{base_url}/schemas/{name}.json"},
        "data": _data(name),
    }
    return {
        **_about(name),
        "contentType": "application/cloudevents+json",
        "payload": {"type": "object", "required": list(attributes), "properties": attributes},
    }


def _about(name: str) -> dict[str, Any]:
    family = name.partition(".")[0]
    return {
        "name": name,
        "title": name,
        "summary": SUMMARY_BY_TYPE[Type(name)],
        "description": f"The subject is `{_SUBJECTS[family]}`.",
    }


def _attributes(name: str) -> dict[str, Any]:
    return {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": {"type": "string", "format": "uri"},
        "type": {"const": name},
        "subject": {"type": "string", "pattern": f"^{name.partition('.')[0]}/"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"type": "string", "format": "uri"},
        "sequence": {"type": "integer", "minimum": 1},
    }


def _data(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model_of(name).__name__)}


def _schemas() -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, "validation") for model in (CalendarData, EventData, BotData)], ref_template=_REFERENCE
    )
    schemas: dict[str, Any] = opened(without_titles(found["$defs"]))
    return schemas


def _references(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _in_channel(channel: str, names: list[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]
